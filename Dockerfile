# The image of EdgePulse: a static binary on an empty base, not run as root.
# Not built by the tests here: they have no container engine. `go tool task image`
# builds the same image without one, and that one is tested.
#
#   docker build -t edgepulse .
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/edgepulse ./cmd/edgepulse \
 && mkdir -p /out/data /out/tmp && chmod 1777 /out/tmp \
 && printf 'root:x:0:0:root:/:/sbin/nologin\nedgepulse:x:65532:65532:EdgePulse:/data:/sbin/nologin\n' > /out/passwd

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/passwd /etc/passwd
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/tmp /tmp
COPY --from=build /out/edgepulse /edgepulse
ENV PATH=/ EDGEPULSE_LOG_FORMAT=json
USER 65532:65532
WORKDIR /data
EXPOSE 8080 9100
ENTRYPOINT ["/edgepulse"]
CMD ["--help"]
LABEL org.opencontainers.image.title="EdgePulse" \
      org.opencontainers.image.description="Continuous anomaly detection for time series" \
      org.opencontainers.image.licenses="Apache-2.0"
