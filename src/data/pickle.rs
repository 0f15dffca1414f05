//! A pickle read as plain data: a little machine for the opcodes that Python's pickle protocols 2 to 5 write. Numbers, strings,
//! containers, tensors of `torch.save` and numpy arrays are known. Nothing in it is ever executed; objects of unknown classes become
//! opaque.
//!
//! Any bytes give a value or an error in time and memory proportional to their number: values live in one list and refer to
//! each other by index, so no depth of nesting costs stack, and no opcode copies what another one made.

use std::collections::BTreeMap;
use std::fmt;

/// Index into the list of values.
pub type Id = usize;

/// One Python value.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A whole number that fits.
    Int(i64),
    /// A fraction.
    Float(f64),
    /// A string.
    Text(String),
    /// Bytes: where they begin and end in the pickle.
    Bytes(usize, usize),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list.
    List(Vec<Id>),
    /// A dict or an `OrderedDict`; a later entry overrides an earlier one.
    Dict(Vec<(Id, Id)>),
    /// A class or function, by its full name.
    Global(String),
    /// Values in another file of the archive.
    Storage(Storage),
    /// A tensor.
    Tensor(View),
    /// A kind of numbers of numpy: its code such as `f4`, and whether the highest byte comes first.
    Kind(String, bool),
    /// A numpy array.
    Array(Array),
    /// An object of a class (a [`Node::Global`]) that is not known here.
    Object(Id),
    /// Anything else: None, bool, set.
    Other,
}

/// Values in a file of the archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// Its class, such as `torch.FloatStorage`.
    pub kind: Id,
    /// Name of the file.
    pub key: Id,
    /// Number of values.
    pub count: u64,
}

/// A tensor: part of a storage.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// A [`Node::Storage`].
    pub storage: Id,
    /// First value.
    pub offset: i64,
    /// Sizes.
    pub size: Vec<i64>,
    /// Values between neighbours along each dimension.
    pub stride: Vec<i64>,
}

/// A numpy array in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// A [`Node::Kind`].
    pub kind: Id,
    /// Sizes.
    pub shape: Vec<i64>,
    /// A [`Node::Bytes`].
    pub data: Id,
}

/// Where reading stopped, and why.
#[derive(Debug, PartialEq)]
pub struct Error {
    at: usize,
    what: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its pickle is damaged at byte {}: {}", self.at, self.what)
    }
}

/// A read pickle.
#[derive(Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle; what follows it is ignored.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut machine = Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: BTreeMap::new() };
        match machine.run() {
            Ok(root) => Ok(Self { nodes: machine.nodes, root }),
            Err(what) => Err(Error { at: machine.at, what }),
        }
    }

    /// What was pickled.
    pub fn root(&self) -> &Node {
        &self.nodes[self.root]
    }

    /// A value.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// The content of a string or of the name of a class.
    pub fn text(&self, id: Id) -> Option<&str> {
        match &self.nodes[id] {
            Node::Text(text) | Node::Global(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key that is a string.
    pub fn get(&self, dict: &[(Id, Id)], key: &str) -> Option<&Node> {
        dict.iter().rev().find(|(k, _)| matches!(&self.nodes[*k], Node::Text(text) if text == key)).map(|(_, value)| &self.nodes[*value])
    }

    /// The numbers of a list or of an array with one dimension, out of the `bytes` that were read; `None` for anything else.
    pub fn numbers(&self, node: &Node, bytes: &[u8]) -> Option<Vec<f64>> {
        match node {
            Node::List(items) | Node::Tuple(items) => items.iter().map(|id| self.number(*id)).collect(),
            Node::Array(array) => {
                let (Node::Kind(code, big), &Node::Bytes(from, to)) = (&self.nodes[array.kind], &self.nodes[array.data]) else {
                    return None;
                };
                let &[count] = array.shape.as_slice() else { return None };
                let (size, read) = number_of(code)?;
                let data = &bytes[from..to];
                if usize::try_from(count).ok()?.checked_mul(size)? != data.len() {
                    return None;
                }
                let each = |chunk: &[u8]| {
                    let mut value = [0; 8];
                    value[..size].copy_from_slice(chunk);
                    if *big {
                        value[..size].reverse();
                    }
                    read(value)
                };
                Some(data.chunks_exact(size).map(each).collect())
            }
            _ => None,
        }
    }

    fn number(&self, id: Id) -> Option<f64> {
        match *self.node(id) {
            Node::Int(value) => Some(value as f64),
            Node::Float(value) => Some(value),
            _ => None,
        }
    }
}

/// Reads a little-endian number out of its first bytes.
type Read = fn([u8; 8]) -> f64;

/// Bytes of a number of that kind, and how it is read.
fn number_of(code: &str) -> Option<(usize, Read)> {
    Some(match code {
        "f8" => (8, f64::from_le_bytes),
        "f4" => (4, |b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        "f2" => (2, |b| half::f16::from_le_bytes([b[0], b[1]]).to_f64()),
        "i8" => (8, |b| i64::from_le_bytes(b) as f64),
        "i4" => (4, |b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        _ => return None,
    })
}

/// More dimensions than any tensor of a model has.
const MOST_DIMENSIONS: usize = 16;
/// Longer names of classes and functions do not exist.
const LONGEST_NAME: usize = 256;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

type Step<T> = Result<T, String>;

impl Machine<'_> {
    fn run(&mut self) -> Step<Id> {
        loop {
            match self.byte()? {
                b'.' => return self.pop(),
                opcode => self.step(opcode)?,
            }
        }
    }

    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            // PROTO, FRAME
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            // POP, POP_MARK, DUP
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.peek()?;
                self.stack.push(top);
            }
            // MEMOIZE, BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
            0x94 => self.put(self.memo.len() as u64)?,
            b'q' => {
                let at = self.number(1)?;
                self.put(at)?;
            }
            b'r' => {
                let at = self.number(4)?;
                self.put(at)?;
            }
            b'h' => {
                let at = self.number(1)?;
                self.recall(at)?;
            }
            b'j' => {
                let at = self.number(4)?;
                self.recall(at)?;
            }
            // NONE, NEWTRUE, NEWFALSE, EMPTY_SET; EMPTY_LIST
            b'N' | 0x88 | 0x89 | 0x8f => self.push(Node::Other),
            b']' => self.push(Node::List(Vec::new())),
            // BININT, BININT1, BININT2
            b'J' => {
                let value = self.number(4)? as u32;
                self.push(Node::Int(i64::from(value.cast_signed())));
            }
            b'K' => self.unsigned(1)?,
            b'M' => self.unsigned(2)?,
            // LONG1, LONG4
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            // BINFLOAT; the bytes SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8; the old strings below
            b'G' => {
                let bytes = self.take(8)?.try_into().expect("there are eight");
                self.push(Node::Float(f64::from_be_bytes(bytes)));
            }
            b'C' => self.raw(1)?,
            b'B' => self.raw(4)?,
            0x8e | 0x96 => self.raw(8)?,
            // SHORT_BINSTRING, BINSTRING; SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            b'U' | 0x8c => self.string(1)?,
            b'T' | b'X' => self.string(4)?,
            0x8d => self.string(8)?,
            // EMPTY_TUPLE, TUPLE1 to TUPLE3, TUPLE
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let mut items = (0..opcode - 0x84).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
                items.reverse();
                self.push(Node::Tuple(items));
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items));
            }
            // EMPTY_DICT, DICT, LIST, FROZENSET
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Node::Dict(Vec::new()));
                self.set(&items)?;
            }
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Node::List(items));
            }
            0x91 => {
                self.pop_mark()?;
                self.push(Node::Other);
            }
            // SETITEM, SETITEMS
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set(&items)?;
            }
            // APPEND, APPENDS
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.extend(&items)?;
            }
            // BUILD; ADDITEMS: what is in a set matters to nobody.
            b'b' => {
                let state = self.pop()?;
                self.build(state)?;
            }
            0x90 => drop(self.pop_mark()?),
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.global(name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(module), Node::Text(name)) = (&self.nodes[module], &self.nodes[name]) else {
                    return Err("the name of a class is no text".into());
                };
                if module.len() + name.len() > LONGEST_NAME {
                    return Err("the name of a class is too long".into());
                }
                let name = format!("{module}.{name}");
                self.global(name)?;
            }
            // REDUCE, NEWOBJ, NEWOBJ_EX
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.call(function, arguments)?;
                self.stack.push(made);
            }
            0x81 => {
                let (_, class) = (self.pop()?, self.pop()?);
                self.push(Node::Object(class));
            }
            0x92 => {
                let (_, _, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.push(Node::Object(class));
            }
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage);
            }
            other => return Err(format!("opcode {other:#04x} is not one that Python writes by default")),
        }
        Ok(())
    }

    // Bytes.

    fn take(&mut self, count: u64) -> Step<&[u8]> {
        let end = usize::try_from(count).ok().and_then(|n| self.at.checked_add(n)).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or("it ends too early")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned little-endian number of that many bytes, eight at most.
    fn number(&mut self, bytes: u64) -> Step<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Step<String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(LONGEST_NAME).position(|&b| b == b'\n').ok_or("the name of a class has no end")?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn unsigned(&mut self, bytes: u64) -> Step<()> {
        let value = self.number(bytes)?;
        self.push(Node::Int(value.cast_signed()));
        Ok(())
    }

    /// A signed number of any length; what does not fit matters to no tensor.
    fn long(&mut self, length_bytes: u64) -> Step<()> {
        let length = self.number(length_bytes)?;
        let bytes = self.take(length)?;
        let node = if bytes.len() <= 8 {
            let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
            let mut whole = [fill; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(whole))
        } else {
            Node::Other
        };
        self.push(node);
        Ok(())
    }

    fn string(&mut self, length_bytes: u64) -> Step<()> {
        let length = self.number(length_bytes)?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    fn raw(&mut self, length_bytes: u64) -> Step<()> {
        let length = self.number(length_bytes)?;
        self.take(length)?;
        self.push(Node::Bytes(self.at - length as usize, self.at));
        Ok(())
    }

    // Stack and memo.

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn peek(&self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor { Ok(self.stack[self.stack.len() - 1]) } else { Err("it takes a value that is not there".into()) }
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.peek()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let floor = self.marks.pop().ok_or("a group has no beginning")?;
        Ok(self.stack.split_off(floor))
    }

    fn put(&mut self, at: u64) -> Step<()> {
        let top = self.peek()?;
        self.memo.insert(u32::try_from(at).map_err(|_| "too many values")?, top);
        Ok(())
    }

    fn recall(&mut self, at: u64) -> Step<()> {
        let id = u32::try_from(at).ok().and_then(|at| self.memo.get(&at)).ok_or("it refers to a value that is not there")?;
        self.stack.push(*id);
        Ok(())
    }

    // Values.

    fn global(&mut self, name: String) -> Step<()> {
        self.push(Node::Global(name));
        Ok(())
    }

    /// Puts keys and values, by turns, into the dict on top of the stack; into an unknown object they vanish.
    fn set(&mut self, items: &[Id]) -> Step<()> {
        let top = self.peek()?;
        if !items.len().is_multiple_of(2) {
            return Err("a key has no value".into());
        }
        if let Node::Dict(entries) = &mut self.nodes[top] {
            entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    /// Puts items at the end of the list on top of the stack; in an unknown object they vanish.
    fn extend(&mut self, items: &[Id]) -> Step<()> {
        let top = self.peek()?;
        if let Node::List(list) = &mut self.nodes[top] {
            list.extend_from_slice(items);
        }
        Ok(())
    }

    /// Gives the object on top of the stack its state: that of numpy's arrays and kinds is known, any other is not needed.
    fn build(&mut self, state: Id) -> Step<()> {
        let top = self.peek()?;
        let Node::Tuple(items) = &self.nodes[state] else { return Ok(()) };
        let built = match (&self.nodes[top], items.as_slice()) {
            // (version, shape, kind, whether in Fortran's order, bytes).
            (Node::Array(_), &[_, shape, kind, _, data]) => Node::Array(Array { kind, shape: self.whole(shape)?, data }),
            // (version, byte order, …).
            (Node::Kind(code, _), &[_, order, ..]) => {
                let big = matches!(&self.nodes[order], Node::Text(order) if order == ">");
                Node::Kind(code.clone(), big)
            }
            _ => return Ok(()),
        };
        self.nodes[top] = built;
        Ok(())
    }

    fn tuple(&self, id: Id) -> Step<&[Id]> {
        if let Node::Tuple(items) = &self.nodes[id] { Ok(items) } else { Err("a function is called without a tuple".into()) }
    }

    /// What a call of `function` would give, for the few functions that make tensors and dicts.
    fn call(&mut self, function: Id, arguments: Id) -> Step<Id> {
        let items = self.tuple(arguments)?;
        // A tensor with attributes is wrapped: (function, class, arguments, attributes).
        if let (Node::Global(name), &[inner, _, inner_arguments, _]) = (&self.nodes[function], items)
            && name == "torch._tensor._rebuild_from_type_v2"
            && !matches!(&self.nodes[inner], Node::Global(name) if name == "torch._tensor._rebuild_from_type_v2")
        {
            return self.call(inner, inner_arguments);
        }
        let node = match &self.nodes[function] {
            Node::Global(name) => match name.as_str() {
                "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => Node::Tensor(self.view(items)?),
                "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                    return items.first().copied().ok_or_else(|| "a parameter has no tensor".to_owned());
                }
                "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct" => {
                    // Its state follows.
                    Node::Array(Array { kind: function, shape: Vec::new(), data: function })
                }
                // (bytes, kind, shape, order), of protocol 5.
                "numpy.core.numeric._frombuffer" | "numpy._core.numeric._frombuffer" => {
                    let &[data, kind, shape, ..] = items else { return Err("an array has too few arguments".into()) };
                    Node::Array(Array { kind, shape: self.whole(shape)?, data })
                }
                "numpy.dtype" => match items.first().map(|id| &self.nodes[*id]) {
                    Some(Node::Text(code)) if code.len() <= LONGEST_NAME => Node::Kind(code.clone(), false),
                    _ => return Err("a kind of numbers has no name".into()),
                },
                "collections.OrderedDict" if items.is_empty() => Node::Dict(Vec::new()),
                "collections.defaultdict" => Node::Dict(Vec::new()),
                _ => Node::Object(function),
            },
            _ => Node::Object(function),
        };
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// (storage, offset, size, stride, …).
    fn view(&self, arguments: &[Id]) -> Step<View> {
        let &[storage, offset, size, stride, ..] = arguments else { return Err("a tensor has too few arguments".into()) };
        let (Node::Storage(_), &Node::Int(offset)) = (&self.nodes[storage], &self.nodes[offset]) else {
            return Err("a tensor has no storage".into());
        };
        let view = View { storage, offset, size: self.whole(size)?, stride: self.whole(stride)? };
        if view.size.len() == view.stride.len() { Ok(view) } else { Err("a tensor has more sizes than strides, or fewer".into()) }
    }

    /// A tuple of whole numbers.
    fn whole(&self, id: Id) -> Step<Vec<i64>> {
        let items = self.tuple(id)?;
        if items.len() > MOST_DIMENSIONS {
            return Err(format!("a tensor has {} dimensions", items.len()));
        }
        let number = |&id: &Id| if let Node::Int(value) = self.nodes[id] { Ok(value) } else { Err("a size is no number".to_owned()) };
        items.iter().map(number).collect()
    }

    /// ("storage", class, key, location, number of values).
    fn storage(&self, id: Id) -> Step<Node> {
        let &[tag, kind, key, _, count] = self.tuple(id)? else { return Err("a storage does not have five parts".into()) };
        match [tag, kind, key, count].map(|id| &self.nodes[id]) {
            [Node::Text(tag), Node::Global(_), Node::Text(_), &Node::Int(count)] if tag == "storage" => {
                let count = u64::try_from(count).map_err(|_| "a storage has a negative size")?;
                Ok(Node::Storage(Storage { kind, key, count }))
            }
            _ => Err("a storage is not described as torch.save describes it".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `{"a": tensor of 2 x 3, transposed, "n": -2, "args": argparse.Namespace(…)}` as protocol 2 writes it.
    fn sample() -> Vec<u8> {
        let mut bytes = b"\x80\x02}q\x00(".to_vec();
        let text = |s: &str| [b"X".as_slice(), &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat();
        bytes.extend(text("a"));
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\nq\x01((");
        bytes.extend(text("storage"));
        bytes.extend(b"ctorch\nFloatStorage\nq\x02");
        bytes.extend([text("0"), text("cpu")].concat());
        bytes.extend(b"K\x06tQK\x00K\x03K\x02\x86K\x01K\x03\x86\x89ccollections\nOrderedDict\n)RtRq\x03");
        bytes.extend(text("n"));
        bytes.extend(b"J\xfe\xff\xff\xff");
        bytes.extend(text("args"));
        bytes.extend(b"cargparse\nNamespace\n)\x81}(");
        bytes.extend(text("lr"));
        bytes.extend(b"G\x00\x00\x00\x00\x00\x00\x00\x00ubu.");
        bytes
    }

    #[test]
    fn tensors_numbers_and_unknown_objects_are_told_apart() {
        let pickle = Pickle::read(&sample()).unwrap();
        let Node::Dict(entries) = pickle.root() else { panic!("{pickle:?}") };
        assert_eq!(pickle.get(entries, "n"), Some(&Node::Int(-2)));
        let Some(Node::Object(class)) = pickle.get(entries, "args") else { panic!("{pickle:?}") };
        assert_eq!(pickle.text(*class), Some("argparse.Namespace"));
        let Some(Node::Tensor(view)) = pickle.get(entries, "a") else { panic!("{pickle:?}") };
        assert_eq!((view.offset, &view.size[..], &view.stride[..]), (0, &[3, 2][..], &[1, 3][..]));
        let Node::Storage(storage) = pickle.node(view.storage) else { panic!("{pickle:?}") };
        assert_eq!((pickle.text(storage.kind), pickle.text(storage.key), storage.count), (Some("torch.FloatStorage"), Some("0"), 6));
    }

    #[test]
    fn whole_numbers_keep_their_sign() {
        for (bytes, value) in [
            (&b"\x8a\x00."[..], 0),
            (b"\x8a\x01\xff.", -1),
            (b"\x8a\x02\x00\x80.", -32768),
            (b"\x8a\x02\xff\x00.", 255),
            (b"M\xff\xff.", 65535),
        ] {
            assert_eq!(Pickle::read(bytes).unwrap().root(), &Node::Int(value));
        }
    }

    #[test]
    fn a_million_nested_lists_need_no_stack() {
        let deep = [b"(".repeat(1_000_000), b"t".repeat(1_000_000), b".".to_vec()].concat();
        assert_eq!(Pickle::read(&deep).unwrap().nodes.len(), 1_000_000);
    }

    #[test]
    fn what_is_no_pickle_is_refused_with_its_place() {
        assert_eq!(Pickle::read(b"").unwrap_err().to_string(), "its pickle is damaged at byte 0: it ends too early");
        assert!(Pickle::read(b"\x80\x02}(K\x01u.").unwrap_err().to_string().contains("a key has no value"));
        assert!(Pickle::read(b"(K\x010t0.").unwrap_err().to_string().contains("not there"));
        assert!(Pickle::read(b"S'x'\n.").unwrap_err().to_string().contains("opcode 0x53"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
            let mut bytes = sample();
            for (place, byte) in places {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = Pickle::read(&bytes);
            let _ = Pickle::read(&bytes[..cut.index(bytes.len())]);
        }
    }
}
