#!/usr/bin/env python3
"""Writes the vectors of this folder: a third implementation, written from the
documentation of schemas/edge and schemas/apikey, and from neither of the other two.

    python3 schemas/testdata/edge/make.py
"""
import base64, binascii, hashlib, hmac, json, os

HERE = os.path.dirname(os.path.abspath(__file__))
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET = bytes(range(32))
OTHER = bytes(range(32, 64))
PEPPER = bytes(range(64, 96))
REQUEST = "0193a7c2-5b1e-7c3d-8e4f-a5b6c7d8e9f0"
AT = 1795510000123456


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def b62(n, digits):
    out = ""
    for _ in range(digits):
        out = ALPHABET[n % 62] + out
        n //= 62
    return out


def key(secret, kid="k3v7qhn2x4ma", env="live"):
    body = f"ep_{env}_{kid}_{b62(int.from_bytes(secret, 'big'), 43)}"
    return body + b62(binascii.crc32(body.encode()) & 0xFFFFFFFF, 6)


def resum(body):
    return body + b62(binascii.crc32(body.encode()) & 0xFFFFFFFF, 6)


def url64(b):
    return base64.urlsafe_b64encode(b).decode().rstrip("=")


def write(name, doc):
    with open(os.path.join(HERE, name), "w") as f:
        json.dump(doc, f, indent=1, ensure_ascii=True)
        f.write("\n")


def keys():
    cases = []

    def good(name, secret, **kw):
        k = key(secret, **kw)
        cases.append({"name": name, "key": k, "id": kw.get("kid", "k3v7qhn2x4ma"), "secret": secret.hex(),
                      "proof": url64(mac(mac(PEPPER, b"edgepulse edge pepper v1"), secret))})

    def bad(name, text):
        cases.append({"name": name, "key": text, "id": None})

    good("a key", OTHER)
    good("secret of zeros", bytes(32))
    good("largest secret", b"\xff" * 32)
    good("secret with leading zeros", bytes(16) + SECRET[:16])
    good("other environment", SECRET, env="dev")
    good("environment of eight characters", SECRET, env="testtest")
    good("id of digits", SECRET, kid="234567234567")
    k = key(SECRET)
    body = k[:-6]
    bad("nothing", "")
    bad("a word", "ep_live_hello")
    bad("wrong checksum", k[:-1] + ("0" if k[-1] != "0" else "1"))
    bad("checksum missing", body)
    bad("one character more", k + "0")
    bad("upper case prefix", "EP" + k[2:])
    bad("no environment", resum(body.replace("ep_live_", "ep__")))
    bad("environment of nine characters", resum(body.replace("live", "ninechars")))
    bad("id with an upper case letter", resum(body.replace("k3v7qhn2x4ma", "K3v7qhn2x4ma")))
    bad("id with a digit that base32 has not", resum(body.replace("k3v7qhn2x4ma", "k1v7qhn2x4ma")))
    bad("id too short", resum(body.replace("k3v7qhn2x4ma", "k3v7qhn2x4m")))
    bad("hyphen in the secret", resum(body[:-1] + "-"))
    bad("secret beyond 256 bits", resum("ep_live_k3v7qhn2x4ma_" + "z" * 43))
    bad("white space around", " " + k)
    bad("line feed at the end", k + "\n")
    bad("other separator", resum(body.replace("ma_", "ma-")))
    write("keys.json", {"about": "Format of API keys, and the proof that the edge makes of a secret.", "pepper": PEPPER.hex(), "cases": cases})


FIELDS = ["kind", "accepted_at", "request_id", "method", "target", "key_id", "key_proof", "idempotency_key", "content_type",
          "content_encoding", "body_sha256"]


def claim(**kw):
    c = {"kind": "request", "accepted_at": AT, "request_id": REQUEST, "method": "POST", "target": "/v1/ingest", "key_id": "k3v7qhn2x4ma",
         "key_proof": "", "idempotency_key": "edge:" + REQUEST, "content_type": "application/json", "content_encoding": "",
         "body_sha256": hashlib.sha256(b"{}").hexdigest()}
    c.update(kw)
    return c


def canonical(c):
    return "\n".join(["edgepulse-edge-v1"] + [str(c[f]) for f in FIELDS])


def signature(c, secret=SECRET):
    return "v1=" + mac(secret, canonical(c).encode()).hex()


def signing():
    cases = []

    def good(name, **kw):
        c = claim(**kw)
        cases.append({"name": name, "claim": c, "canonical": canonical(c), "signature": signature(c)})

    good("a request")
    good("everything empty", key_id="", idempotency_key="", content_type="", content_encoding="", body_sha256="")
    good("spill", kind="spill", key_proof=url64(mac(OTHER, SECRET)))
    good("unsigned body", method="GET", target="/v1/live?metric_id=a&x=%20b", body_sha256="unsigned", idempotency_key="", content_type="")
    good("non-ASCII header", content_type="application/json; note=\u00e4\u20ac")
    good("instant at zero", accepted_at=0)
    good("large instant", accepted_at=9007199254740991)
    good("key of a client", idempotency_key="order-4711")
    good("gzip", content_encoding="gzip")
    good("moved boundary", key_id="k3v7qhn2x4m", key_proof="a")
    for field in ("target", "idempotency_key", "content_type", "content_encoding", "key_id"):
        cases.append({"name": "line feed in " + field, "claim": claim(**{field: "a\nb"}), "error": True})
    cases.append({"name": "carriage return", "claim": claim(content_type="a\rb"), "error": True})
    cases.append({"name": "tabulator", "claim": claim(content_type="a\tb"), "error": True})
    cases.append({"name": "null byte", "claim": claim(target="/v1/\x00"), "error": True})
    cases.append({"name": "delete", "claim": claim(target="/v1/\x7f"), "error": True})
    write("signing.json", {"about": "The canonical string of what the edge vouches for, and its HMAC-SHA256.", "secret": SECRET.hex(),
                           "other": OTHER.hex(), "cases": cases})


def spills():
    cases = []

    def good(name, body, tenant="6f1ed002-ab5e-7a3c-9d11-0123456789ab", client_key=False, **kw):
        c = claim(kind="spill", key_proof=url64(mac(OTHER, SECRET)), body_sha256=hashlib.sha256(body).hexdigest(), **kw)
        head = {"v": 1}
        for f in ("request_id", "accepted_at", "key_id", "key_proof", "idempotency_key", "content_type", "content_encoding", "body_sha256"):
            head[f] = c[f]
        head["signature"] = signature(c)
        import datetime
        minute = datetime.datetime.fromtimestamp(c["accepted_at"] // 1000000, datetime.timezone.utc).strftime("%Y%m%dT%H%MZ")
        ident = c["request_id"]
        if client_key:
            ident = "k-" + hashlib.sha256((tenant + "\n" + c["idempotency_key"]).encode()).hexdigest()[:32]
        obj = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" + body
        cases.append({"name": name, "claim": c, "body": base64.b64encode(body).decode(), "tenant": tenant, "client_key": client_key,
                      "object": base64.b64encode(obj).decode(), "object_name": f"spill/{minute}/{ident}"})

    good("a small body", b'{"device_external_id":"d","metrics":[]}')
    good("empty body", b"")
    good("line feeds in the body", b"\n\n{}\n")
    good("every byte", bytes(range(256)), content_encoding="gzip")
    good("key of a client", b"{}", client_key=True, idempotency_key="order-4711")
    good("key of a client with signs", b"{}", client_key=True, idempotency_key='a"b\\c<d>&e')
    good("first second of a minute", b"{}", accepted_at=1795510020000000)
    good("last microsecond of a minute", b"{}", accepted_at=1795510019999999)
    write("spills.json", {"about": "Spilled requests: the object and its name.", "secret": SECRET.hex(), "cases": cases})


def answers():
    cases = [{"status": s, "code": c, "spills": v} for s, c, v in [
        (202, "", False), (400, "malformed_json", False), (401, "unauthorized", False), (403, "tenant_disabled", False), (409, "in_flight", False),
        (413, "body_too_large", False), (422, "no_acceptable_point", False), (429, "quota_exceeded", False), (429, "too_much_in_flight", False),
        (500, "internal", False), (503, "log_full", False), (503, "overloaded", False), (503, "store_unavailable", False),
        (503, "log_unavailable", True), (503, "draining", True), (503, "keys_unavailable", True), (500, "log_unavailable", False)]]
    write("answers.json", {"about": "Which answers of the gateway let the edge keep the request itself.", "cases": cases})


keys()
signing()
spills()
answers()
