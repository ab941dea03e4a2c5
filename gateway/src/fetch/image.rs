//! What an image's manifest says of the module in it.
//!
//! Three layouts are in use:
//! * an artifact, one of whose layers is the module (`application/vnd.wasm.content.layer.v1+wasm`,
//!   `application/vnd.module.wasm.content.layer.v1+wasm`, `application/wasm`);
//! * an image of Docker, and
//! * one of OCI, a layer of which is an archive that holds the file `plugin.wasm`; the last such layer counts.
//!
//! An index leads to the manifest for Wasm, else to the only one, else to that for this kind of machine.
//!
//! Limits: 64 MiB of an archive once it is unpacked, four layers that are looked into.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::BYTES_MAX;
use crate::policy::remote::parse_digest;

/// Bytes of an archive once it is unpacked.
const ARCHIVE_MAX: u64 = 64 << 20;
/// Layers that are looked into.
const LAYERS_MAX: usize = 4;
/// The file in an archive.
const MODULE_FILE: &str = "plugin.wasm";

/// What manifests may be.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// Why an image holds no module.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error("the manifest cannot be read: {0}")]
    Manifest(#[from] serde_json::Error),
    #[error("the index names several manifests, and none is for Wasm or for this kind of machine")]
    NoPlatform,
    #[error("the manifest names a digest that is not SHA-256")]
    Digest,
    #[error("no layer is a module, nor an archive that could hold one; it has {0}")]
    NoLayer(String),
    #[error("the archive in the layer cannot be read: {0}")]
    Archive(io::Error),
    #[error("no archive in it holds the file `{MODULE_FILE}`")]
    NoModule,
    #[error("the module is larger than {BYTES_MAX} bytes")]
    TooLarge,
    #[error("the archive in the layer unpacks to more than {ARCHIVE_MAX} bytes")]
    ArchiveTooLarge,
}

/// A manifest, or an index of them.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// What to fetch next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another manifest.
    Manifest([u8; 32]),
    /// The layers that may hold the module, the likeliest first.
    Layers(Vec<Layer>),
}

/// A layer that may hold the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) digest: [u8; 32],
    pub(super) packing: Packing,
}

/// How a layer holds the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Module,
    Tar,
    TarGzip,
}

/// What a manifest or an index leads to.
pub(super) fn next(text: &[u8]) -> Result<Next, ImageError> {
    let Document { layers, manifests } = serde_json::from_slice(text)?;
    if !manifests.is_empty() {
        return chosen(&manifests).map(Next::Manifest);
    }
    let layer = |descriptor: &Descriptor, packing| -> Result<Layer, ImageError> {
        let digest = parse_digest(&descriptor.digest).ok_or(ImageError::Digest)?;
        Ok(Layer { digest, packing })
    };
    let packed = layers.iter().filter_map(|layer| Some((layer, packing(&layer.media_type)?)));
    if let Some((module, packing)) = packed.clone().find(|(_, packing)| *packing == Packing::Module) {
        return Ok(Next::Layers(vec![layer(module, packing)?]));
    }
    // The last layer lies on top.
    let archives: Result<Vec<_>, _> =
        packed.rev().take(LAYERS_MAX).map(|(archive, packing)| layer(archive, packing)).collect();
    match archives? {
        none if none.is_empty() => Err(no_layer(&layers)),
        archives => Ok(Next::Layers(archives)),
    }
}

fn no_layer(layers: &[Descriptor]) -> ImageError {
    let types: Vec<_> = layers.iter().take(LAYERS_MAX).map(|layer| layer.media_type.as_str()).collect();
    ImageError::NoLayer(if types.is_empty() { "none".to_owned() } else { types.join(", ") })
}

fn packing(media_type: &str) -> Option<Packing> {
    match media_type {
        "application/vnd.wasm.content.layer.v1+wasm"
        | "application/vnd.module.wasm.content.layer.v1+wasm"
        | "application/wasm" => Some(Packing::Module),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Packing::TarGzip),
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Some(Packing::Tar)
        }
        _ => None,
    }
}

fn chosen(manifests: &[Descriptor]) -> Result<[u8; 32], ImageError> {
    let find = |is_right: &dyn Fn(&Platform) -> bool| {
        manifests.iter().find(|entry| entry.platform.as_ref().is_some_and(is_right))
    };
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let is_wasm = |platform: &Platform| platform.architecture == "wasm" || platform.os == "wasi";
    let is_ours = |platform: &Platform| platform.os == "linux" && platform.architecture == machine;
    let found = find(&is_wasm).or_else(|| match manifests {
        [only] => Some(only),
        _ => find(&is_ours),
    });
    parse_digest(&found.ok_or(ImageError::NoPlatform)?.digest).ok_or(ImageError::Digest)
}

/// The module in a layer; `None` if it is an archive without one.
pub(super) fn module(layer: Vec<u8>, packing: Packing) -> Result<Option<Vec<u8>>, ImageError> {
    match packing {
        Packing::Module => Ok(Some(layer)),
        Packing::Tar => unpacked(layer.as_slice()),
        Packing::TarGzip => unpacked(MultiGzDecoder::new(layer.as_slice())),
    }
}

fn unpacked(archive: impl Read) -> Result<Option<Vec<u8>>, ImageError> {
    let mut bounded = archive.take(ARCHIVE_MAX);
    let found = find_module(&mut bounded);
    match found {
        // What was cut off looks torn.
        Err(ImageError::Archive(_)) if bounded.limit() == 0 => Err(ImageError::ArchiveTooLarge),
        found => found,
    }
}

fn find_module(archive: impl Read) -> Result<Option<Vec<u8>>, ImageError> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(ImageError::Archive)? {
        let mut entry = entry.map_err(ImageError::Archive)?;
        let is_module =
            entry.path().is_ok_and(|path| path.strip_prefix("./").unwrap_or(&path) == Path::new(MODULE_FILE));
        if !is_module || !entry.header().entry_type().is_file() {
            continue;
        }
        let size = entry.size();
        if size > BYTES_MAX {
            return Err(ImageError::TooLarge);
        }
        let mut module = Vec::new();
        entry.read_to_end(&mut module).map_err(ImageError::Archive)?;
        if module.len() as u64 != size {
            return Err(ImageError::Archive(io::ErrorKind::UnexpectedEof.into()));
        }
        return Ok(Some(module));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn digest(byte: u8) -> String {
        format!("sha256:{}", format!("{byte:02x}").repeat(32))
    }

    fn manifest(layers: &[(&str, u8)]) -> Vec<u8> {
        let layers: Vec<_> = layers
            .iter()
            .map(|(kind, byte)| serde_json::json!({ "mediaType": kind, "digest": digest(*byte), "size": 1 }))
            .collect();
        serde_json::to_vec(&serde_json::json!({ "schemaVersion": 2, "layers": layers })).unwrap()
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn layers_are_found_in_each_layout() {
        let module = ("application/vnd.wasm.content.layer.v1+wasm", 1);
        let gzip = ("application/vnd.oci.image.layer.v1.tar+gzip", 2);
        let tar = ("application/vnd.oci.image.layer.v1.tar", 3);
        let layer = |byte, packing| Layer { digest: [byte; 32], packing };
        let cases = [
            (vec![module], vec![layer(1, Packing::Module)]),
            (vec![gzip, module], vec![layer(1, Packing::Module)]),
            (vec![gzip, tar], vec![layer(3, Packing::Tar), layer(2, Packing::TarGzip)]),
            (vec![("text/plain", 9), gzip], vec![layer(2, Packing::TarGzip)]),
            (vec![gzip; 9], vec![layer(2, Packing::TarGzip); LAYERS_MAX]),
        ];
        for (layers, expected) in cases {
            assert_eq!(next(&manifest(&layers)).unwrap(), Next::Layers(expected));
        }
        let zstd = ("application/vnd.oci.image.layer.v1.tar+zstd", 1);
        let error = next(&manifest(&[zstd])).unwrap_err();
        assert!(error.to_string().ends_with(zstd.0), "{error}");
        assert!(matches!(next(&manifest(&[])), Err(ImageError::NoLayer(none)) if none == "none"));
        assert!(matches!(next(b"<html>"), Err(ImageError::Manifest(_))));
    }

    #[test]
    fn an_index_leads_to_one_manifest() {
        let index = |entries: &[(&str, &str, u8)]| {
            let manifests: Vec<_> = entries
                .iter()
                .map(|(os, architecture, byte)| {
                    let platform = serde_json::json!({ "os": os, "architecture": architecture });
                    serde_json::json!({ "digest": digest(*byte), "platform": platform })
                })
                .collect();
            next(&serde_json::to_vec(&serde_json::json!({ "manifests": manifests })).unwrap())
        };
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        assert_eq!(index(&[("linux", machine, 1), ("wasi", "wasm", 2)]).unwrap(), Next::Manifest([2; 32]));
        assert_eq!(index(&[("linux", "s390x", 1)]).unwrap(), Next::Manifest([1; 32]));
        assert_eq!(index(&[("linux", "s390x", 1), ("linux", machine, 2)]).unwrap(), Next::Manifest([2; 32]));
        let other = index(&[("linux", "s390x", 1), ("windows", machine, 2)]);
        assert!(matches!(other, Err(ImageError::NoPlatform)));
    }

    #[test]
    fn archives_are_unpacked() {
        let found = |bytes, packing| module(bytes, packing).unwrap();
        let files: [(&str, &[u8]); 3] = [("etc/plugin.wasm", b"no"), ("plugin.wasm", b"yes"), ("x", b"no")];
        assert_eq!(found(archive(&files), Packing::Tar).as_deref(), Some(&b"yes"[..]));
        assert_eq!(found(archive(&[("./plugin.wasm", b"yes")]), Packing::Tar).as_deref(), Some(&b"yes"[..]));
        // Some tools write several gzip members.
        let tar = archive(&files);
        let (head, tail) = tar.split_at(600);
        let members = [zipped(head), zipped(tail)].concat();
        assert_eq!(found(members, Packing::TarGzip).as_deref(), Some(&b"yes"[..]));
        assert_eq!(found(archive(&[("x", b"no")]), Packing::Tar), None);
        assert_eq!(found(b"as it is".to_vec(), Packing::Module).as_deref(), Some(&b"as it is"[..]));
    }

    #[test]
    fn torn_and_endless_archives_are_refused() {
        let torn = archive(&[("plugin.wasm", &[7; 4096])])[..2000].to_vec();
        assert!(matches!(module(torn, Packing::Tar), Err(ImageError::Archive(_))));
        assert!(matches!(module(b"no gzip".to_vec(), Packing::TarGzip), Err(ImageError::Archive(_))));
        let bomb = zipped(&archive(&[("x", &vec![0; ARCHIVE_MAX as usize]), ("plugin.wasm", b"yes")]));
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        assert!(matches!(module(bomb, Packing::TarGzip), Err(ImageError::ArchiveTooLarge)));
        let large = zipped(&archive(&[("plugin.wasm", &vec![0; BYTES_MAX as usize + 1])]));
        assert!(matches!(module(large, Packing::TarGzip), Err(ImageError::TooLarge)));
    }
}
