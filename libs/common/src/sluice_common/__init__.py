"""What the services of Sluice share: the status table, the tasks, the ports and their adapters."""

__version__ = "0.1.0"
