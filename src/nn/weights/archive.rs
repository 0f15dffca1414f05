//! Checkpoints of `torch.save` (zip form): the pickle says what there is, other files of the archive hold the values.

use std::io::{Cursor, Read};

use tch::{Kind, Tensor};
use zip::ZipArchive;

use crate::data::pickle::{Id, Node, Pickle, Storage, View};

/// Where a checkpoint may keep its weights, the first that is there counts: the moving average that ActionFormer,
/// TemporalMaxer and TriDet are tested with, the plain weights, TadTR's.
const PLACES: [&str; 3] = ["state_dict_ema", "state_dict", "model"];

/// The pickle of a checkpoint has some hundred bytes per tensor.
const LONGEST_PICKLE: usize = 32 << 20;

/// Tensors may share values, but not without end.
const MOST_SHARING: usize = 4;

/// Named tensors, and where in the checkpoint they were.
pub(super) type Taken = (Vec<(String, Tensor)>, Option<&'static str>);

/// Reads the weights of a checkpoint.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub(super) fn read(bytes: &[u8]) -> Result<Taken, String> {
    let damaged = |e: zip::result::ZipError| format!("it is a truncated or damaged zip file ({e}); download or copy it again");
    let zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let names: Vec<String> = zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let inside = |file: &str| names.iter().find_map(|name| name.strip_suffix(file));
    if inside("/constants.pkl").is_some() {
        return Err(
            "it is a TorchScript archive; write its weights anew in Python: torch.save(torch.jit.load(old).state_dict(), new)".into()
        );
    }
    let Some(root) = inside("/data.pkl").map(str::to_owned) else {
        return Err("it is a zip file, but not one of torch.save: it has no data.pkl".into());
    };
    let mut archive = Archive { zip, root, size: bytes.len() };
    if archive.file("byteorder", 16).is_ok_and(|order| order == b"big") {
        return Err("its numbers are big-endian; save it again on a little-endian machine".into());
    }
    let pickle = Pickle::read(&archive.file("data.pkl", LONGEST_PICKLE)?).map_err(|e| e.to_string())?;
    let (entries, place) = state_dict(&pickle)?;
    let mut tensors = Vec::with_capacity(entries.len());
    let mut left = bytes.len().saturating_mul(MOST_SHARING);
    for &(key, value) in entries {
        let Some(name) = pickle.text(key) else { continue };
        if let Some(tensor) = archive.tensor(&pickle, value, &mut left).map_err(|problem| format!("its tensor {name:?} {problem}"))? {
            tensors.push((name.to_owned(), tensor));
        }
    }
    Ok((tensors, place))
}

/// Keys and values of a dict.
type Entries<'a> = &'a [(Id, Id)];

/// The entries that are the weights, and under which key they were.
fn state_dict(pickle: &Pickle) -> Result<(Entries<'_>, Option<&'static str>), String> {
    let holds_tensors = |entries: &[(Id, Id)]| entries.iter().any(|(_, value)| matches!(pickle.node(*value), Node::Tensor(_)));
    let root = match pickle.root() {
        Node::Dict(entries) => entries,
        Node::Object(class) => {
            let class = pickle.text(*class).unwrap_or("unknown");
            return Err(format!("it holds a Python object ({class}), not weights by name; save its state_dict() instead"));
        }
        _ => return Err("it holds no weights by name; save a state_dict()".into()),
    };
    for place in PLACES {
        if let Some(Node::Dict(entries)) = pickle.get(root, place)
            && holds_tensors(entries)
        {
            return Ok((entries, Some(place)));
        }
    }
    if holds_tensors(root) {
        return Ok((root, None));
    }
    let keys: Vec<&str> = root.iter().filter_map(|(key, _)| pickle.text(*key)).take(8).collect();
    Err(format!("it holds no weights under {}; its keys are: {}", PLACES.join(", "), keys.join(", ")))
}

struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    root: String,
    size: usize,
}

impl Archive<'_> {
    /// A file of the archive, of at most that many bytes; its checksum is verified.
    fn file(&mut self, name: &str, most: usize) -> Result<Vec<u8>, String> {
        let path = format!("{}/{name}", self.root);
        let file = self.zip.by_name(&path).map_err(|e| format!("has no readable file {path} ({e}); download or copy it again"))?;
        let expected = usize::try_from(file.size()).unwrap_or(usize::MAX);
        if expected > most.min(self.size) {
            return Err(format!("has a file {path} of {expected} bytes, more than fit"));
        }
        let mut bytes = Vec::with_capacity(expected);
        let mut limited = file.take(expected as u64 + 1);
        limited.read_to_end(&mut bytes).map_err(|e| format!("has a damaged file {path} ({e}); download or copy it again"))?;
        Ok(bytes)
    }

    /// A tensor; `None` for what is none. `left` is how many bytes tensors may still take.
    fn tensor(&mut self, pickle: &Pickle, value: Id, left: &mut usize) -> Result<Option<Tensor>, String> {
        let view = match pickle.node(value) {
            Node::Tensor(view) => view,
            Node::Object(class) if pickle.text(*class).is_some_and(|name| name.starts_with("torch._utils._rebuild")) => {
                let class = pickle.text(*class).unwrap_or_default();
                return Err(format!("is of a kind that is not read here ({class}); save it as a plain tensor"));
            }
            _ => return Ok(None),
        };
        let Node::Storage(storage) = pickle.node(view.storage) else { unreachable!("a view is made with its storage") };
        let class = pickle.text(storage.kind).unwrap_or_default();
        let kind = kind(class).ok_or_else(|| format!("has values of a type that is not read here ({class}); convert it to float32"))?;
        let values = extent(view, storage)?;
        if values == 0 {
            return Ok(Some(Tensor::zeros(&view.size[..], (Kind::Float, tch::Device::Cpu))));
        }
        let bytes = (storage.count as usize).saturating_mul(kind.elt_size_in_bytes());
        *left = left.checked_sub(bytes).ok_or("shares its values with too many others")?;
        let key = pickle.text(storage.key).unwrap_or_default();
        let content = self.file(&format!("data/{key}"), bytes)?;
        if content.len() != bytes {
            return Err(format!("needs {bytes} bytes, but its file has {}; download or copy it again", content.len()));
        }
        let failed = |e: tch::TchError| format!("cannot be built: {e}");
        let whole = Tensor::f_from_data_size(&content, &[storage.count as i64], kind).map_err(failed)?;
        let part = whole.f_as_strided(&view.size[..], &view.stride[..], view.offset).map_err(failed)?;
        Ok(Some(part.f_contiguous().map_err(failed)?))
    }
}

/// Number of values of a view that lies inside its storage and uses each value at most once.
fn extent(view: &View, storage: &Storage) -> Result<u64, String> {
    let mut count: u64 = 1;
    let mut last = u64::try_from(view.offset).ok();
    for (&size, &stride) in view.size.iter().zip(&view.stride) {
        let (Ok(size), Ok(stride)) = (u64::try_from(size), u64::try_from(stride)) else { return Err("has a negative size".into()) };
        count = count.saturating_mul(size);
        last = last.zip(size.saturating_sub(1).checked_mul(stride)).and_then(|(last, reach)| last.checked_add(reach));
    }
    match last {
        _ if count == 0 => Ok(0),
        Some(last) if last < storage.count && count <= storage.count => Ok(count),
        _ => Err(format!("of size {:?} reaches beyond its {} values", view.size, storage.count)),
    }
}

fn kind(class: &str) -> Option<Kind> {
    Some(match class.strip_prefix("torch.")? {
        "FloatStorage" => Kind::Float,
        "DoubleStorage" => Kind::Double,
        "HalfStorage" => Kind::Half,
        "BFloat16Storage" => Kind::BFloat16,
        "LongStorage" => Kind::Int64,
        "IntStorage" => Kind::Int,
        "ShortStorage" => Kind::Int16,
        "CharStorage" => Kind::Int8,
        "ByteStorage" => Kind::Uint8,
        "BoolStorage" => Kind::Bool,
        _ => return None,
    })
}
