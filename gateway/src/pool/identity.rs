//! How a gateway knows its workers again: credentials are HMACs of the installation's key, so nothing is recorded, and a
//! restarted gateway checks them as well as the one that gave them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use warmpod_link::{Credential, WorkerId};

/// 32 random bytes, made once for a data directory and kept in its store.
#[derive(Clone)]
pub struct InstallationKey([u8; 32]);

impl InstallationKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What a worker is started with; good for its first hello.
    pub fn token(&self, worker: WorkerId) -> Credential {
        self.sign(b"token", worker.0.as_bytes())
    }

    /// What the answer to the first hello brings; good for all later ones.
    pub fn secret(&self, worker: WorkerId) -> Credential {
        self.sign(b"secret", worker.0.as_bytes())
    }

    /// A signature over any text, for addresses that the gateway hands out and must know again.
    pub fn sign_text(&self, purpose: &[u8], text: &str) -> Credential {
        self.sign(purpose, text.as_bytes())
    }

    fn sign(&self, purpose: &[u8], what: &[u8]) -> Credential {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(purpose);
        mac.update(&[0]);
        mac.update(what);
        Credential(mac.finalize().into_bytes().into())
    }
}

/// Compares in constant time.
pub fn same(a: &Credential, b: &Credential) -> bool {
    a.0.ct_eq(&b.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn token_and_secret_differ_by_purpose_worker_and_key() {
        let key = InstallationKey::new([7; 32]);
        let (a, b) = (WorkerId(Uuid::from_u128(1)), WorkerId(Uuid::from_u128(2)));
        assert!(same(&key.token(a), &key.token(a)));
        assert!(!same(&key.token(a), &key.secret(a)));
        assert!(!same(&key.token(a), &key.token(b)));
        assert!(!same(&key.token(a), &InstallationKey::new([8; 32]).token(a)));
    }
}
