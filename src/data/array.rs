//! Two-dimensional arrays in `.npy`, `.npz` and `.safetensors` files, memory-mapped (`.npz` is unpacked) and converted to single precision. Formats:
//! NumPy enhancement proposal 1 (versions 1 to 3) and the safetensors header of JSON offsets.

use std::io::Cursor;
use std::path::Path;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use memmap2::Mmap;
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};
use safetensors::{Dtype, SafeTensors};

use super::features::Kind;
use crate::base::fsio;

/// Why an array cannot be read; the caller adds the path.
pub(super) enum Error {
    /// The file cannot be opened or mapped.
    File(fsio::Error),
    /// The content breaks the format.
    Malformed(String),
}

/// The content of a file: mapped, or unpacked from an archive.
enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}

/// An array file with its header read: the data are whole and not yet touched.
pub(super) struct File {
    map: Bytes,
    /// Of the data in `map`.
    offset: usize,
    number: Number,
    /// The most significant byte of a number comes first.
    big_endian: bool,
    /// The first dimension is the slow one.
    row_major: bool,
    /// Dimensions as the file gives them.
    pub shape: Vec<usize>,
}

/// A file seen as `[time, channels]`.
pub(super) struct Matrix {
    file: File,
    pub time: usize,
    pub channels: usize,
    /// Values of one time step are adjacent.
    time_major: bool,
}

/// Floating-point forms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    F16,
    Bf16,
    F32,
    F64,
}

impl Number {
    fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Maps a file and reads its header.
/// `array` names the array of an archive that holds several.
pub(super) fn open(path: &Path, kind: Kind, array: Option<&str>) -> Result<File, Error> {
    let file = std::fs::File::open(path).map_err(|e| Error::File(fsio::Error::wrap("read", path)(e)))?;
    // SAFETY: the map is only read, as plain bytes. Feature files are inputs that nothing of ours writes; if another
    // process truncates one meanwhile, the read faults and the cell ends as killed, which its record says.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::File(fsio::Error::wrap("map", path)(e)))?;
    match kind {
        Kind::Npy => npy(Bytes::Mapped(map)),
        Kind::Npz => npy(Bytes::Held(member(&map, array)?)),
        Kind::Safetensors => safetensors(map),
    }
}

/// A row-major `[time, channels]` array as the content of a `.npy` file.
pub(super) fn to_npy(time: usize, channels: usize, values: &[f32]) -> Vec<u8> {
    use npyz::WriterBuilder;
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&[time as u64, channels as u64])
        .writer(&mut bytes)
        .begin_nd()
        .expect("memory takes what is written");
    writer.extend(values.iter().copied()).expect("memory takes what is written");
    writer.finish().expect("the shape has as many values");
    bytes
}

/// The only `.npy` of an archive, or the one named `array`.
fn member(archive: &[u8], array: Option<&str>) -> Result<Vec<u8>, Error> {
    let unreadable = |e: String| {
        Error::Malformed(format!("not a readable .npz file ({e}); it may be truncated or of another form (`dataset.features.kind`)"))
    };
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).map_err(|e| unreadable(e.to_string()))?;
    let mut names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_owned())).collect();
    names.sort_unstable();
    let name = match (array, names.as_slice()) {
        (Some(wanted), names) if names.iter().any(|name| name == wanted) => wanted.to_owned(),
        (None, [only]) => only.clone(),
        _ => return Err(Error::Malformed(format!("it holds the arrays {names:?}; name one of them with `dataset.features.array`"))),
    };
    let mut bytes = Vec::new();
    let mut file = archive.by_name(&format!("{name}.npy")).map_err(|e| unreadable(e.to_string()))?;
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(|e| unreadable(e.to_string()))?;
    Ok(bytes)
}

fn npy(map: Bytes) -> Result<File, Error> {
    let mut cursor = Cursor::new(&map[..]);
    let header = NpyHeader::from_reader(&mut cursor).map_err(|e| {
        Error::Malformed(format!("not a readable .npy file ({e}); it may be truncated or of another form (`dataset.features.kind`)"))
    })?;
    let offset = cursor.position() as usize;
    let number = match header.dtype() {
        DType::Plain(form) => match (form.type_char(), form.size_field()) {
            (TypeChar::Float, 2) => Some(Number::F16),
            (TypeChar::Float, 4) => Some(Number::F32),
            (TypeChar::Float, 8) => Some(Number::F64),
            _ => None,
        },
        _ => None,
    };
    let Some(number) = number else {
        return Err(Error::Malformed(format!("numbers of type {}; store float16, float32 or float64", header.dtype().descr())));
    };
    let big_endian = matches!(header.dtype(), DType::Plain(form) if form.endianness() == Endianness::Big);
    let row_major = header.order() == Order::C;
    let shape = header.shape().iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
    whole(File { map, offset, number, big_endian, row_major, shape })
}

fn safetensors(map: Mmap) -> Result<File, Error> {
    let tensors = SafeTensors::deserialize(&map).map_err(|e| {
        Error::Malformed(format!(
            "not a readable .safetensors file ({e}); it may be truncated or of another form (`dataset.features.kind`)"
        ))
    })?;
    let view = match tensors.len() {
        1 => tensors.iter().next().map(|(_, view)| view),
        _ => tensors.tensor("features").ok(),
    };
    let Some(view) = view else {
        let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        return Err(Error::Malformed(format!("tensors {names:?}; store a single one or name it \"features\"")));
    };
    let number = match view.dtype() {
        Dtype::F16 => Number::F16,
        Dtype::BF16 => Number::Bf16,
        Dtype::F32 => Number::F32,
        Dtype::F64 => Number::F64,
        other => return Err(Error::Malformed(format!("numbers of type {other:?}; store F16, BF16, F32 or F64"))),
    };
    let offset = view.data().as_ptr() as usize - map.as_ptr() as usize;
    let shape = view.shape().to_vec();
    whole(File { map: Bytes::Mapped(map), offset, number, big_endian: false, row_major: true, shape })
}

/// The file if all data its header promises are there.
fn whole(file: File) -> Result<File, Error> {
    let promised = file.shape.iter().try_fold(file.number.bytes(), |n, &d| n.checked_mul(d));
    let held = file.map.len() - file.offset;
    if promised.is_some_and(|promised| promised <= held) {
        return Ok(file);
    }
    let promised = promised.map_or_else(|| "more bytes than there can be".to_owned(), |n| format!("{n} bytes"));
    Err(Error::Malformed(format!(
        "truncated: the header promises shape {:?}, {promised}, but {held} follow; copy or extract it again",
        file.shape
    )))
}

impl File {
    /// The shape without axes of length one, which mean nothing, down to two dimensions: those in front go first, then those
    /// at the end.
    pub fn squeeze(&mut self) {
        while self.shape.len() > 2 && self.shape[0] == 1 {
            self.shape.remove(0);
        }
        while self.shape.len() > 2 && self.shape.last() == Some(&1) {
            self.shape.pop();
        }
    }

    /// Sees the two-dimensional file as time by channels; `time_first`: its first dimension is time.
    pub fn into_matrix(self, time_first: bool) -> Matrix {
        let (rows, columns) = (self.shape[0], self.shape[1]);
        let (time, channels) = if time_first { (rows, columns) } else { (columns, rows) };
        let time_major = time_first == self.row_major;
        Matrix { file: self, time, channels, time_major }
    }
}

impl Matrix {
    /// The values, row-major `[time, channels]`.
    pub fn to_f32(&self) -> Vec<f32> {
        let count = self.time * self.channels;
        let bytes = &self.file.map[self.file.offset..][..count * self.file.number.bytes()];
        let values = match (self.file.number, self.file.big_endian) {
            (Number::F16, false) => widen::<f16>(&words(bytes, f16::from_le_bytes)),
            (Number::F16, true) => widen::<f16>(&words(bytes, f16::from_be_bytes)),
            // NumPy has no such numbers: they come from safetensors, which is little-endian.
            (Number::Bf16, _) => widen::<bf16>(&words(bytes, bf16::from_le_bytes)),
            (Number::F32, false) => words(bytes, f32::from_le_bytes),
            (Number::F32, true) => words(bytes, f32::from_be_bytes),
            (Number::F64, false) => words(bytes, |w| f64::from_le_bytes(w) as f32),
            (Number::F64, true) => words(bytes, |w| f64::from_be_bytes(w) as f32),
        };
        if self.time_major { values } else { transposed(&values, self.channels, self.time) }
    }
}

fn words<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&word| read(word)).collect()
}

fn widen<T>(halves: &[T]) -> Vec<f32>
where
    [T]: HalfFloatSliceExt,
{
    let mut values = vec![0.0; halves.len()];
    halves.convert_to_f32_slice(&mut values);
    values
}

/// `[rows, columns]` to `[columns, rows]`, in square tiles so that both sides stay in cache.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for row in top..(top + TILE).min(rows) {
                for column in left..(left + TILE).min(columns) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}
