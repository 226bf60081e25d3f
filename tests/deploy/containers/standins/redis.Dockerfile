# Stands in for the official image, with Debian's Redis.
FROM sluice-test/debian-services
RUN install --directory --owner=redis --group=redis /data
WORKDIR /data
USER redis
CMD ["redis-server"]
