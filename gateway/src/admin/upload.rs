//! A policy on its way to the admin API: all files that it is made of, in one body.
//!
//! A line of JSON that names the files and their lengths, then their bytes one behind the other.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::policy::KeptFile;

/// A policy that was uploaded.
pub(super) struct Upload {
    /// The path that it was read from.
    pub(super) source: PathBuf,
    pub(super) files: Vec<KeptFile>,
}

/// The line in front.
#[derive(Serialize, Deserialize)]
struct Contents {
    source: PathBuf,
    files: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    bytes: usize,
}

/// A policy that was read from `source`, as a body.
///
/// # Errors
/// If a path is not UTF-8.
pub fn encode(source: &Path, files: &[KeptFile]) -> Result<Vec<u8>, serde_json::Error> {
    let entry = |file: &KeptFile| Entry { path: file.path.clone(), bytes: file.bytes.len() };
    let contents = Contents { source: source.to_owned(), files: files.iter().map(entry).collect() };
    let mut body = serde_json::to_vec(&contents)?;
    body.push(b'\n');
    files.iter().for_each(|file| body.extend_from_slice(&file.bytes));
    Ok(body)
}

/// `None` if the body is not what [`encode`] makes.
pub(super) fn decode(mut body: Bytes) -> Option<Upload> {
    let end = body.iter().position(|byte| *byte == b'\n')?;
    let contents: Contents = serde_json::from_slice(&body.split_to(end)).ok()?;
    let _ = body.split_to(1);
    let mut files = Vec::new();
    for Entry { path, bytes } in contents.files {
        let bytes = (bytes <= body.len()).then(|| body.split_to(bytes))?;
        files.push(KeptFile { path, bytes: (&*bytes).into() });
    }
    body.is_empty().then_some(Upload { source: contents.source, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let file = |path: &str, bytes: &[u8]| KeptFile { path: path.into(), bytes: bytes.into() };
        let files = [file("a.yaml", b"one\ntwo"), file("m.wasm", b"\0asm\n"), file("empty", b"")];
        let body = Bytes::from(encode(Path::new("a.yaml"), &files).unwrap());
        let upload = decode(body.clone()).unwrap();
        assert_eq!((upload.source, upload.files), (PathBuf::from("a.yaml"), files.to_vec()));
        for wrong in [body.slice(..body.len() - 1), Bytes::new(), [&body[..], b"x"].concat().into()] {
            assert!(decode(wrong).is_none());
        }
    }
}
