# The wpo command on CPUs:
#   docker build -t wpo .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" wpo train run.yaml

FROM node:24-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*
# the library in it is part of the image
ENV XDG_CACHE_HOME=/app/cache
WORKDIR /source
COPY . .
RUN npm run pack -- /tarballs
WORKDIR /app
# hadolint ignore=DL3016
RUN npm install --ignore-scripts --no-audit --no-fund /tarballs/*.tgz \
  && npx wpo-tensorflow install --variant cpu

FROM node:24-bookworm-slim
COPY --from=build /app /app
ENV HOME=/tmp
# the user `node` of the base image
USER 1000
WORKDIR /work
ENTRYPOINT ["/app/node_modules/.bin/wpo"]
CMD ["--help"]
