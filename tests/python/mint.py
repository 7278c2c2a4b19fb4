"""Tokens by joserfc, one for each algorithm, with the keys to check them. CLAIMS is their payload, HEADER what else their
header says."""

import json
import os
import secrets

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

claims = json.loads(os.environ["CLAIMS"])
header = json.loads(os.environ["HEADER"])
minted = []
keys = [
    ("RS256", RSAKey.generate_key(2048)),
    ("PS256", RSAKey.generate_key(3072)),
    ("ES256", ECKey.generate_key("P-256")),
    ("ES384", ECKey.generate_key("P-384")),
    ("EdDSA", OKPKey.generate_key("Ed25519")),
]
for algorithm, key in keys:
    token = jwt.encode({"alg": algorithm, "kid": algorithm, **header}, claims, key, algorithms=[algorithm])
    jwk = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    minted.append({"algorithm": algorithm, "jwk": jwk, "pem": key.as_pem(private=False).decode(), "token": token})
for algorithm, length in [("HS256", 32), ("HS384", 48), ("HS512", 64)]:
    secret = secrets.token_urlsafe(length)
    token = jwt.encode(
        {"alg": algorithm, "kid": algorithm, **header}, claims, OctKey.import_key(secret), algorithms=[algorithm]
    )
    minted.append({"algorithm": algorithm, "secret": secret, "token": token})
print(json.dumps(minted))
