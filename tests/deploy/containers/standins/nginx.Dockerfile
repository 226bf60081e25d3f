# Stands in for the official image, with Debian's nginx.
FROM sluice-test/debian-services
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
