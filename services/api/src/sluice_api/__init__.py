"""The gateway: takes documents in and answers everything."""
