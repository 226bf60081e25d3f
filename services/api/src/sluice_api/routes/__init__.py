"""The paths of the gateway, one module for each thing they are about."""
