//! TLS by rustls, with the meanings that libpq gives to `sslmode` and `sslrootcert`.
//!
//! | sslmode | without root certificates | with them |
//! | --- | --- | --- |
//! | allow, prefer, require | encrypted, nothing verified | the certificate's chain is verified |
//! | verify-ca | refused | the certificate's chain is verified |
//! | verify-full | refused | the chain, and that the certificate is that of the host |
//!
//! Stricter than libpq in two points, as rustls is: a certificate needs the host in `subjectAltName` (a common name alone
//! is no name), and must be of X.509 version 3.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::encrypted::MakeEncrypted;
use super::parameters::{Parameters, SslMode};
use crate::error::{Error, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls::{SupportedProtocolVersion, ALL_VERSIONS};

/// For all hosts of a connection string.
pub fn connector(parameters: &Parameters) -> Result<MakeEncrypted> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier {
        roots: roots(parameters)?,
        checks_name: parameters.ssl_mode() == SslMode::VerifyFull,
        provider: Arc::clone(&provider),
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(parameters)?)
        .map_err(|error| Error::failed(format!("could not set up TLS: {error}"), ""))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity(parameters)? {
        None => builder.with_no_client_auth(),
        Some((certificates, key)) => {
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|error| {
                    Error::failed(format!("could not use sslcert and sslkey: {error}"), "")
                })?
        }
    };
    config.enable_sni = parameters.get("sslsni") != Some("0");
    // What ALPN names since PostgreSQL 17; sslnegotiation=direct requires it.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeEncrypted::new(config))
}

/// `None`: nothing is verified.
fn roots(parameters: &Parameters) -> Result<Option<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    if parameters.get("sslrootcert") == Some("system") {
        for certificate in rustls_native_certs::load_native_certs().certs {
            // One that cannot be parsed is not trusted.
            let _ = roots.add(certificate);
        }
        return Ok(Some(roots));
    }
    let Some(path) = parameters
        .ssl_file("sslrootcert", "root.crt")
        .filter(|path| path.exists())
    else {
        if parameters.ssl_mode() >= SslMode::VerifyCa {
            let hint = "Name it by sslrootcert (or PGSSLROOTCERT), use sslrootcert=system, or change sslmode.";
            return Err(Error::failed(
                "there is no root certificate file to verify the server with",
                hint,
            ));
        }
        return Ok(None);
    };
    for certificate in certificates(&path)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(&path, error))?;
    }
    Ok(Some(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(unusable(path, "it contains no certificate")),
        read => read.map_err(|error| unusable(path, error)),
    }
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::failed(format!("could not read \"{}\": {why}", path.display()), "")
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client's certificate with its key, if there is one.
fn identity(parameters: &Parameters) -> Result<Option<Identity>> {
    let certificate = parameters.ssl_file("sslcert", "postgresql.crt");
    let Some(certificate) = certificate.filter(|path| path.exists()) else {
        return Ok(None);
    };
    if parameters.get("sslcertmode") == Some("disable") {
        return Ok(None);
    }
    let key = parameters.ssl_file("sslkey", "postgresql.key");
    let Some(key) = key.filter(|path| path.exists()) else {
        let message = format!(
            "certificate present, but not private key file for \"{}\"",
            certificate.display()
        );
        return Err(Error::failed(message, "sslkey (or PGSSLKEY) names it."));
    };
    ensure_is_private(&key)?;
    let read = PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, error))?;
    Ok(Some((certificates(&certificate)?, read)))
}

/// The rule of libpq's `initialize_SSL`.
fn ensure_is_private(key: &Path) -> Result<()> {
    let metadata = fs::metadata(key).map_err(|error| unusable(key, error))?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden == 0 {
        return Ok(());
    }
    let message = format!(
        "private key file \"{}\" has group or world access",
        key.display()
    );
    let hint = "File must have permissions u=rw (0600) or less if owned by the current user, or permissions \
        u=rw,g=r (0640) or less if owned by root.";
    Err(Error::failed(message, hint))
}

fn versions(parameters: &Parameters) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let limit = |keyword, otherwise| match parameters.get(keyword).unwrap_or(otherwise) {
        "TLSv1" | "TLSv1.1" | "TLSv1.2" => Ok(2),
        "TLSv1.3" => Ok(3),
        other => Err(Error::wrong_use(
            format!("invalid {keyword} value: \"{other}\""),
            "",
        )),
    };
    let (least, most) = (
        limit("ssl_min_protocol_version", "TLSv1.2")?,
        limit("ssl_max_protocol_version", "TLSv1.3")?,
    );
    let is_in = |version: &&&'static SupportedProtocolVersion| {
        let minor = if version.version == rustls::ProtocolVersion::TLSv1_3 {
            3
        } else {
            2
        };
        (least..=most).contains(&minor)
    };
    Ok(ALL_VERSIONS.iter().filter(is_in).copied().collect())
}

/// Verifies as much as `sslmode` asks for.
#[derive(Debug)]
struct Verifier {
    roots: Option<RootCertStore>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
            if self.checks_name {
                verify_server_name(&certificate, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match self.roots {
            // By a certificate that nobody vouches for it proves nothing, and rustls does not parse every one.
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(_) => verify_tls12_signature(message, certificate, signature, algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match self.roots {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(_) => verify_tls13_signature(message, certificate, signature, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
