"""The embedded vector server: the part of Qdrant's REST API that Sluice uses, over the Qdrant engine itself."""
