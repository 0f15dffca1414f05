//! Pretrained weights: the authors' checkpoints as they were released, or safetensors.
//!
//! Of a checkpoint of `torch.save` (torch 1.6 or newer) the moving average is taken before the plain weights, as the authors
//! test with it; `module.`, which data-parallel training puts before every name, is removed. Nothing in a file is executed.

mod archive;
pub mod misfit;

use std::path::Path;

use memmap2::Mmap;
use tch::Tensor;

use super::params::{self, Error};
use crate::base::fsio;

/// Named tensors of a file.
pub struct Weights {
    /// Names without `module.`.
    pub tensors: Vec<(String, Tensor)>,
    /// The key of the checkpoint that they were under; `None` for a file of weights alone.
    pub place: Option<&'static str>,
}

/// First bytes of a checkpoint of torch before 1.6: a pickled magic number.
const OLD_FORM: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20";

/// Ends of the names of what is no weight: a norm's counter, and what the `thop` profiler leaves behind.
const NO_WEIGHTS: [&str; 3] = ["num_batches_tracked", "total_ops", "total_params"];

/// Reads a checkpoint or a safetensors file; which of the two, its first bytes say.
///
/// # Errors
/// The file cannot be read, is neither, or is damaged.
pub fn read(path: &Path) -> Result<Weights, Error> {
    let file = std::fs::File::open(path).map_err(fsio::Error::wrap("read", path))?;
    // SAFETY: the map is only read, as plain bytes. Weights are inputs that nothing of ours writes; if another process
    // truncates the file meanwhile, the read faults and the cell ends as killed, which its record says.
    let map = unsafe { Mmap::map(&file) }.map_err(fsio::Error::wrap("map", path))?;
    let refused = |reason: String| Error::Checkpoint { path: path.display().to_string(), reason };
    let (tensors, place) = match &map[..] {
        bytes if bytes.starts_with(b"PK") => archive::read(bytes).map_err(refused)?,
        bytes if bytes.starts_with(OLD_FORM) => {
            let old =
                "it has the form of torch before 1.6; write it anew in Python: torch.save(torch.load(old, map_location=\"cpu\"), new)";
            return Err(refused(old.into()));
        }
        // A header of JSON after its length.
        bytes if bytes.get(8) == Some(&b'{') => (params::read_tensors(path)?, None),
        _ => {
            let neither = "it is neither a checkpoint of torch.save nor a safetensors file; it may be truncated, or the web page of a failed download";
            return Err(refused(neither.into()));
        }
    };
    let mut tensors = tensors;
    while !tensors.is_empty() && tensors.iter().all(|(name, _)| name.starts_with("module.")) {
        tensors.iter_mut().for_each(|(name, _)| drop(name.drain(.."module.".len())));
    }
    tensors.retain(|(name, _)| !NO_WEIGHTS.iter().any(|end| name.ends_with(end)));
    Ok(Weights { tensors, place })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use tch::Kind;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/fixtures").join(name)
    }

    fn refusal(path: &Path) -> String {
        match read(path) {
            Ok(weights) => panic!("{} tensors", weights.tensors.len()),
            Err(error) => error.to_string(),
        }
    }

    fn refused_bytes(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pth");
        fsio::replace(&path, bytes).unwrap();
        refusal(&path)
    }

    #[test]
    fn a_checkpoint_of_torch_is_read_by_name_type_and_layout() {
        let Weights { tensors, place } = read(&fixture("tiny.pth")).unwrap();
        assert_eq!(place, Some("state_dict_ema"));
        let find = |name: &str| &tensors.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}")).1;
        let values = |name: &str| Vec::<f32>::try_from(find(name).to_kind(Kind::Float).reshape([-1])).unwrap();
        assert_eq!((find("plain").size(), values("plain")), (vec![2, 3], vec![100.0, 101.0, 102.0, 103.0, 104.0, 105.0]));
        assert_eq!((find("transposed").size(), values("transposed")), (vec![3, 2], vec![100.0, 103.0, 101.0, 104.0, 102.0, 105.0]));
        assert_eq!((find("part").size(), values("part")), (vec![2, 3], vec![108.0, 109.0, 110.0, 114.0, 115.0, 116.0]));
        assert_eq!((find("scalar").size(), values("scalar")), (vec![], vec![100.0]));
        assert_eq!(values("parameter"), [100.0, 101.0, 102.0, 103.0]);
        assert_eq!(find("empty").size(), [0, 3]);
        for kind in ["half", "bfloat16", "double", "long", "int", "short", "uint8", "bool"] {
            assert_eq!(values(kind), [1.0, 0.0, 1.0], "{kind}");
        }
        assert_eq!(tensors.len(), 14, "the counter of the norm is no weight");
    }

    #[test]
    fn other_forms_are_refused_with_the_remedy() {
        let text = refusal(&fixture("old_form.pth"));
        assert!(text.contains("old_form.pth") && text.contains("torch before 1.6") && text.contains("torch.save(torch.load("), "{text}");
        let text = refusal(&fixture("scripted.pt"));
        assert!(text.contains("TorchScript") && text.contains("torch.jit.load(old).state_dict()"), "{text}");
        assert!(refused_bytes(b"<!DOCTYPE html><html>").contains("failed download"));
        assert!(refused_bytes(b"").contains("neither a checkpoint"));
        let text = refusal(Path::new("/no/such.pth"));
        assert!(text.contains("cannot read /no/such.pth"), "{text}");
    }

    #[test]
    fn a_truncated_or_altered_checkpoint_is_refused() {
        let bytes = fsio::read(&fixture("tiny.pth")).unwrap();
        for cut in [4, 100, 5000, bytes.len() - 1] {
            assert!(refused_bytes(&bytes[..cut]).contains("truncated or damaged zip file"), "{cut}");
        }
        // A flipped bit in the values is found by the checksum.
        let mut flipped = bytes.clone();
        let value = 105.0f32.to_le_bytes();
        let at = flipped.windows(4).rposition(|w| w == value).unwrap();
        flipped[at] ^= 1;
        assert!(refused_bytes(&flipped).contains("damaged file"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_make_it_panic(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let mut bytes = fsio::read(&fixture("tiny.pth")).unwrap();
            for (place, byte) in places {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = archive::read(&bytes);
        }

        /// The checksums are right, so what the pickle claims is what counts.
        #[test]
        fn no_claim_of_a_pickle_makes_it_panic(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let original = fsio::read(&fixture("tiny.pth")).unwrap();
            let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&original[..])).unwrap();
            let mut anew = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            for index in 0..zip.len() {
                let mut file = zip.by_index(index).unwrap();
                let name = file.name().unwrap().into_owned();
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut file, &mut content).unwrap();
                if name.ends_with("data.pkl") {
                    for (place, byte) in &places {
                        let at = place.index(content.len());
                        content[at] = *byte;
                    }
                }
                anew.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
                std::io::Write::write_all(&mut anew, &content).unwrap();
            }
            let _ = archive::read(&anew.finish().unwrap().into_inner());
        }
    }
}
