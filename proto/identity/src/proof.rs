//! The proofs that a device holds the identity key it registers, or registered.

use millwright_proto::ids::NodeUid;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use thiserror::Error;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Bytes of a P-256 point in uncompressed form (SEC 1, section 2.3.3).
const P256_POINT_BYTES: usize = 65;

/// Why a proof does not count.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ProofError {
    /// The key has another form.
    #[error(
        "identity key of {length} bytes is not an ECDSA P-256 SubjectPublicKeyInfo in DER form"
    )]
    Key {
        /// Length in bytes as received.
        length: usize,
    },
    /// The signature is not of this key over this request.
    #[error("the identity key did not sign this certificate request")]
    Signature,
}

/// Begins every statement of a renewal, so that no other signature of the key can pass for one: what is signed at
/// enrollment is DER and begins with another byte.
const RENEWAL_CONTEXT: &[u8] = b"millwright/1 renew\0";

/// What the identity key signs to renew a certificate: who asks, the challenge it answers, and the request that is to
/// be signed. Every part has a length of its own or a prefix that says it, so no two renewals read alike.
#[must_use]
pub fn renewal_statement(node: NodeUid, challenge: &[u8], csr: &[u8]) -> Vec<u8> {
    let length = u32::try_from(challenge.len()).unwrap_or(u32::MAX);
    let parts = [
        RENEWAL_CONTEXT,
        node.as_bytes(),
        &length.to_be_bytes(),
        challenge,
        csr,
    ];
    parts.concat()
}

/// Checks that the identity key signed the certificate request: `key` is a
/// `SubjectPublicKeyInfo` (DER, ECDSA P-256), `proof` an ASN.1 ECDSA signature with SHA-256 over `csr`.
///
/// # Errors
/// When the key is of another kind, or did not make this signature.
pub fn verify_identity_proof(key: &[u8], csr: &[u8], proof: &[u8]) -> Result<(), ProofError> {
    let wrong_key = || ProofError::Key { length: key.len() };
    let Ok(([], info)) = SubjectPublicKeyInfo::from_der(key) else {
        return Err(wrong_key());
    };
    let Ok(PublicKey::EC(point)) = info.parsed() else {
        return Err(wrong_key());
    };
    if point.data().len() != P256_POINT_BYTES {
        return Err(wrong_key());
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point.data())
        .verify(csr, proof)
        .map_err(|_| ProofError::Signature)
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PublicKeyData, SigningKey};

    use super::*;

    #[test]
    fn only_the_registered_key_over_the_same_request_counts() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let public = key.subject_public_key_info();
        let proof = key.sign(b"csr").unwrap();
        assert_eq!(verify_identity_proof(&public, b"csr", &proof), Ok(()));
        let refused = Err(ProofError::Signature);
        assert_eq!(verify_identity_proof(&public, b"other", &proof), refused);
        let forged = other.sign(b"csr").unwrap();
        assert_eq!(verify_identity_proof(&public, b"csr", &forged), refused);
        assert_eq!(verify_identity_proof(&public, b"csr", b""), refused);
    }

    #[test]
    fn a_renewal_is_about_one_node_one_challenge_and_one_request() {
        let node = NodeUid::from_bytes([7; 16]);
        let statement = renewal_statement(node, b"challenge", b"csr");
        for other in [
            renewal_statement(NodeUid::from_bytes([8; 16]), b"challenge", b"csr"),
            renewal_statement(node, b"challenges", b"csr"),
            renewal_statement(node, b"challengec", b"sr"),
            renewal_statement(node, b"challenge", b"csr "),
        ] {
            assert_ne!(statement, other);
        }
    }

    #[test]
    fn keys_of_another_kind_are_refused() {
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        for key in [
            ed25519.subject_public_key_info(),
            p384.subject_public_key_info(),
            vec![],
            vec![0x30, 0x82],
        ] {
            let length = key.len();
            assert_eq!(
                verify_identity_proof(&key, b"csr", b"proof"),
                Err(ProofError::Key { length })
            );
        }
    }
}
