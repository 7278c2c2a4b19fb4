//! Issuers of the tests: keys of every kind, and a server that publishes them and counts who asks.

use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::get;
use data_encoding::BASE64URL_NOPAD;
use patchbay::auth::jwt::Claims;
use serde_json::{Value, json};

/// A private key.
pub enum Signer {
    Rsa(RsaKeyPair),
    Ec(&'static str, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub fn base64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

impl Signer {
    pub fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub fn p256() -> Self {
        Self::Ec("P-256", EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub fn p384() -> Self {
        Self::Ec("P-384", EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub fn ed25519() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    /// The public key, without a name.
    pub fn jwk(&self) -> Value {
        match self {
            Self::Rsa(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                json!({
                    "kty": "RSA",
                    "n": base64(n.big_endian_without_leading_zero()),
                    "e": base64(e.big_endian_without_leading_zero()),
                })
            }
            Self::Ec(curve, pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
                json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
            }
            Self::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key().as_ref())}),
        }
    }

    /// The public key, with a name and what else there is to say.
    pub fn named(&self, id: &str, more: &Value) -> Value {
        let mut jwk = self.jwk();
        jwk["kid"] = json!(id);
        for (name, value) in more.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    pub fn signature(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(_, pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with exactly this header.
    pub fn token(&self, header: &Value, payload: &str) -> String {
        let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(payload.as_bytes()));
        let algorithm = header["alg"].as_str().unwrap_or_default();
        format!("{message}.{}", base64(&self.signature(algorithm, message.as_bytes())))
    }

    /// A token as an issuer would make it.
    pub fn mint(&self, algorithm: &str, id: &str, claims: &Claims) -> String {
        self.token(&json!({"alg": algorithm, "kid": id}), &serde_json::to_string(claims).unwrap())
    }
}

/// A server that answers what a test says.
#[derive(Clone, Default)]
pub struct FakeIssuer {
    pub address: String,
    answers: Arc<Mutex<Answers>>,
}

#[derive(Default)]
struct Answers {
    status: StatusCode,
    headers: HeaderMap,
    key_set: String,
    metadata: String,
    asked: usize,
    delay: std::time::Duration,
}

async fn key_set(State(issuer): State<FakeIssuer>) -> (StatusCode, HeaderMap, String) {
    let (answer, delay) = {
        let mut answers = issuer.answers.lock().unwrap();
        answers.asked += 1;
        ((answers.status, answers.headers.clone(), answers.key_set.clone()), answers.delay)
    };
    tokio::time::sleep(delay).await;
    answer
}

async fn metadata(State(issuer): State<FakeIssuer>) -> String {
    issuer.answers.lock().unwrap().metadata.clone()
}

impl FakeIssuer {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Self { address: address.clone(), answers: Arc::default() };
        let router = Router::new()
            .route("/keys", get(key_set))
            .route("/.well-known/openid-configuration", get(metadata))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer.metadata(&json!({"issuer": address, "jwks_uri": format!("{address}/keys")}));
        issuer
    }

    pub fn keys(&self, keys: &[Value]) {
        self.body(&json!({"keys": keys}).to_string());
    }

    pub fn body(&self, text: &str) {
        text.clone_into(&mut self.answers.lock().unwrap().key_set);
    }

    pub fn metadata(&self, metadata: &Value) {
        self.answers.lock().unwrap().metadata = metadata.to_string();
    }

    pub fn status(&self, status: u16) {
        self.answers.lock().unwrap().status = StatusCode::from_u16(status).unwrap();
    }

    pub fn header(&self, name: &'static str, value: &str) {
        self.answers.lock().unwrap().headers.insert(name, HeaderValue::from_str(value).unwrap());
    }

    pub fn delay(&self, delay: std::time::Duration) {
        self.answers.lock().unwrap().delay = delay;
    }

    /// How often somebody asked for the keys.
    pub fn asked(&self) -> usize {
        self.answers.lock().unwrap().asked
    }
}
