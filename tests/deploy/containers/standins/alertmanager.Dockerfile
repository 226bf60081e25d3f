# Stands in for the official image, with Debian's program.
FROM sluice-test/debian-monitoring
ENTRYPOINT ["prometheus-alertmanager"]
