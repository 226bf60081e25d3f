"""A search and the protocol: what the store is told, so that what nobody may see costs nobody a place."""

from dataclasses import replace

from sluice_api.searching import SearchQuery, search

pytest_plugins = ("contracts.vector_fixtures", "contracts.gateway_parts")


class AskedStore:
    """A store that remembers what each question told it to hide."""

    def __init__(self, vectors) -> None:
        self._vectors = vectors
        self.hidden: list[set[int]] = []

    def search_lexical(self, vector, scope, *, limit):
        self.hidden.append(set(scope.hidden_runs))
        return self._vectors.search_lexical(vector, scope, limit=limit)


def test_a_search_tells_the_store_at_once_which_runs_to_hide(gateway):
    gateway.ready(["apple pie"])
    working = gateway.embed(gateway.accept(), ["apple apple apple"])
    store = AskedStore(gateway.deps.vectors)
    principal = gateway.deps.keys.principal_of(gateway.key())

    search(SearchQuery("apple", mode="lexical"), principal, replace(gateway.deps, vectors=store))

    assert store.hidden == [{working.run_id}]
