FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/headrace && /opt/headrace/bin/pip install --no-cache-dir --require-hashes -r server.lock \
    && /opt/headrace/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 headrace && install -d -o headrace /data
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH HEADRACE_DATA_DIR=/data HEADRACE_HOST=0.0.0.0
USER headrace
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import os, ssl, urllib.request as u; e = os.environ.get; s = 's' if e('HEADRACE_TLS_CERT') or e('HEADRACE_TLS_SELF_SIGNED', '').lower() in ('1', 'true') else ''; u.urlopen(f'http{s}://127.0.0.1:{e(\"HEADRACE_PORT\", 3000)}/healthz', timeout=2, context=ssl._create_unverified_context())"]
CMD ["headrace", "serve"]
