"""The concrete stores and providers behind the ports; a vendor's types and errors stop here."""
