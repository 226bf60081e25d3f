-- The role with which Grafana reads the tables: psql -v ON_ERROR_STOP=1 -v password=... -f reader.sql
-- It may be run again after a migration, and changes nothing then but the password.
-- It sees numbers, codes and times; no text, no name of a file, no attribute and no key. Rights on columns and no
-- views: a view would stand in the way of the next migration.
SELECT 'CREATE ROLE sluice_dashboards LOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_dashboards') \gexec

ALTER ROLE sluice_dashboards PASSWORD :'password' CONNECTION LIMIT 10;
ALTER ROLE sluice_dashboards SET default_transaction_read_only = on;
ALTER ROLE sluice_dashboards SET statement_timeout = '10s';

GRANT USAGE ON SCHEMA public TO sluice_dashboards;
GRANT SELECT (id, name) ON tenants TO sluice_dashboards;
GRANT SELECT (id, tenant_id, name, lifecycle, created_at) ON collections TO sluice_dashboards;
GRANT SELECT (
    id, tenant_id, collection_id, lifecycle, state, tries, losses, error_code, error_detail_code,
    created_at, updated_at, finished_at
) ON documents TO sluice_dashboards;
GRANT SELECT (document_id, size_bytes, media_type) ON originals TO sluice_dashboards;
GRANT SELECT (id, document_id, tenant_id, request_no, state, n_chunks, created_at, published_at)
    ON runs TO sluice_dashboards;
