//! How weights differ from what a model has, in a sentence that says what to do.

use std::fmt;

/// A tensor of the same name and another shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Misshapen {
    /// Its name.
    pub name: String,
    /// Sizes in the file.
    pub file: Vec<i64>,
    /// Sizes in the model.
    pub model: Vec<i64>,
}

/// How weights differ from what a model has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Misfit {
    /// In the model, not in the file.
    pub missing: Vec<String>,
    /// In the file, not in the model.
    pub unexpected: Vec<String>,
    /// In both with different shapes.
    pub misshapen: Vec<Misshapen>,
    /// The architecture that the file's names belong to, where it is not the model's.
    pub looks_like: Option<&'static str>,
    /// Classes of the data set; 0 for a class-agnostic network.
    pub classes: Option<i64>,
    /// Whether the model is a video encoder, whose settings have other names.
    pub of_encoder: bool,
}

/// Parts of names that weights lack which were made with an option of the authors' code.
const MISSING: [(&[&str], &str); 4] = [
    (&["actionness_pred."], "act_reg = false"),
    (&["start_head.", "end_head.", "reg_head."], "use_trident_head = false"),
    (&["embd_norm.", ".ln1.", ".ln2.", "fpn_norms.", "neck."], "embd_with_ln = false or fpn_with_ln = false"),
    (&["cls_head.norm.", "reg_head.norm.", "start_head.norm.", "end_head.norm."], "head_with_ln = false"),
];

/// Parts of names that only weights have which were made with one.
const UNEXPECTED: [(&[&str], &str); 2] =
    [(&[".rel_pe"], "use_rel_pe = true"), (&["fpn_norms.", "lateral_convs.", "fpn_convs."], "fpn_type = \"fpn\"")];

/// Names listed of each kind.
const SHOWN: usize = 3;

impl Misfit {
    /// Whether there is no difference.
    pub fn is_none(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }

    /// Classes of the file and of the model, when that is the only difference.
    fn class_counts(&self) -> Option<(i64, i64)> {
        let model = self.classes?.max(1);
        if !(self.missing.is_empty() && self.unexpected.is_empty()) {
            return None;
        }
        let of_file = |m: &Misshapen| {
            let (&[file, ref file_rest @ ..], &[rows, ref rest @ ..]) = (&m.file[..], &m.model[..]) else { return None };
            // ETAD's head has a row more, for the background.
            (rest == file_rest && (rows == model || rows == model + 1)).then_some(file - (rows - model))
        };
        let file = of_file(self.misshapen.first()?)?;
        (file >= 1 && self.misshapen.iter().all(|m| of_file(m) == Some(file))).then_some((file, model))
    }

    /// The option of the authors' code that explains every name of the difference.
    fn option(&self) -> Option<&'static str> {
        let explains =
            |names: &[String], part: &[&str]| !names.is_empty() && names.iter().all(|name| part.iter().any(|p| name.contains(p)));
        let of =
            |options: &[(&[&str], &'static str)], names: &[String]| options.iter().find(|(parts, _)| explains(names, parts)).map(|o| o.1);
        match (self.missing.as_slice(), self.unexpected.as_slice()) {
            (missing, []) => of(&MISSING, missing),
            ([], unexpected) => of(&UNEXPECTED, unexpected),
            (missing, _) => of(&MISSING[1..2], missing),
        }
    }

    /// Whether what is missing is the class head alone.
    fn lacks_class_head(&self) -> bool {
        let of_class_head = |name: &String| name.contains("class_head") || name.contains("cls_head") || name.contains("class_embed");
        self.unexpected.is_empty() && self.misshapen.is_empty() && !self.missing.is_empty() && self.missing.iter().all(of_class_head)
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, model)) = self.class_counts() {
            let Misshapen { name, file: rows, .. } = &self.misshapen[0];
            write!(f, "they are for {}, ", count(file, "class", "classes"))?;
            match self.classes {
                Some(0) => write!(f, "but with `labels = \"external\"` the model is class-agnostic; leave that out")?,
                _ => write!(f, "the data set has {model}; train from scratch or use weights for the same classes")?,
            }
            if file == 1 {
                write!(f, ", or `labels = \"external\"` with a class-agnostic model")?;
            }
            return write!(f, " ({name:?} is {rows:?})");
        }
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!(
                "{} not in the file ({})",
                count(self.missing.len() as i64, "tensor is", "tensors are"),
                listed(&self.missing)
            ));
        }
        if !self.unexpected.is_empty() {
            let number = count(self.unexpected.len() as i64, "tensor is", "tensors are");
            parts.push(format!("{number} not in the model ({})", listed(&self.unexpected)));
        }
        if !self.misshapen.is_empty() {
            let each = |m: &Misshapen| format!("{} is {:?} in the file and {:?} in the model", m.name, m.file, m.model);
            let number = count(self.misshapen.len() as i64, "tensor has", "tensors have");
            parts.push(format!("{number} another shape ({})", listed(&self.misshapen.iter().map(each).collect::<Vec<_>>())));
        }
        write!(f, "{}", parts.join(", "))?;
        match self.looks_like {
            Some(name) => write!(f, "; they look like weights of {name}"),
            None if self.option().is_some() => {
                let option = self.option().expect("just seen");
                write!(f, "; they were made with `{option}`, an option of the authors' code of which this version builds no network")
            }
            None if self.lacks_class_head() => {
                write!(f, "; they are of a class-agnostic detector: set `labels = \"external\"` and `video_scores`")
            }
            None if self.of_encoder => write!(f, "; check `weights`, `network` and `width` of the encoder"),
            None => write!(f, "; check `init` and the settings of the model"),
        }
    }
}

fn count(n: i64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown}, …") } else { shown }
}

/// The architecture that tensors of these names belong to, told by what only it has.
pub fn recognise<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'static str> {
    let any = |test: &dyn Fn(&str) -> bool| names.clone().any(test);
    let begins = |prefix: &str| any(&|name| name.starts_with(prefix));
    Some(match () {
        () if begins("stage_pem.") => "ETAD",
        () if begins("segment_embed.") || begins("transformer.decoder.segment_embed.") => "TadTR",
        () if begins("start_head.") => "TriDet",
        () if any(&|name| name.starts_with("backbone.") && name.contains(".attn.")) => "ActionFormer",
        () if begins("backbone.embd.") && begins("cls_head.") => "TemporalMaxer",
        () if begins("regu_s.") => "G-TAD",
        // Encoders: depth and kind of block.
        () if begins("stem.3.") && begins("layer1.2.") => "R(2+1)D-34",
        () if begins("stem.3.") => "R(2+1)D-18",
        () if begins("layer3.6.conv3.") => "a ResNet deeper than 50",
        () if begins("layer1.0.conv3.") => "ResNet-50",
        () if begins("layer1.2.conv2.") => "ResNet-34",
        () if begins("layer1.0.conv2.") => "ResNet-18",
        () => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misshapen(name: &str, file: &[i64], model: &[i64]) -> Misshapen {
        Misshapen { name: name.into(), file: file.into(), model: model.into() }
    }

    #[test]
    fn another_number_of_classes_is_called_that() {
        let heads = |file: i64, model: i64| {
            vec![
                misshapen("cls_head.cls_head.conv.weight", &[file, 512, 3], &[model, 512, 3]),
                misshapen("cls_head.cls_head.conv.bias", &[file], &[model]),
            ]
        };
        let text = Misfit { misshapen: heads(20, 12), classes: Some(12), ..Misfit::default() }.to_string();
        assert!(text.starts_with("they are for 20 classes, the data set has 12;"), "{text}");
        let text = Misfit { misshapen: heads(1, 12), classes: Some(12), ..Misfit::default() }.to_string();
        assert!(text.starts_with("they are for 1 class, the data set has 12;") && text.contains("\"external\""), "{text}");
        let text = Misfit { misshapen: heads(20, 1), classes: Some(0), ..Misfit::default() }.to_string();
        assert!(text.contains("20 classes, but with `labels = \"external\"` the model is class-agnostic"), "{text}");
        // A background row.
        let text = Misfit { misshapen: heads(21, 13), classes: Some(12), ..Misfit::default() }.to_string();
        assert!(text.starts_with("they are for 20 classes, the data set has 12;"), "{text}");
        // Another width as well is no question of classes.
        let mut both = heads(20, 12);
        both.push(misshapen("backbone.embd.0.conv.weight", &[512, 2048, 3], &[512, 400, 3]));
        let text = Misfit { misshapen: both, classes: Some(12), ..Misfit::default() }.to_string();
        assert!(text.starts_with("3 tensors have another shape (cls_head"), "{text}");
    }

    #[test]
    fn counts_come_with_the_first_names_and_a_hint() {
        let names = |n: usize| (0..n).map(|i| format!("a.{i}")).collect::<Vec<_>>();
        let misfit = Misfit { missing: names(1), unexpected: names(5), looks_like: Some("TriDet"), ..Misfit::default() };
        let text = "1 tensor is not in the file (a.0), 5 tensors are not in the model (a.0, a.1, a.2, …); they look like weights of TriDet";
        assert_eq!(misfit.to_string(), text);
        let misfit = Misfit { missing: vec!["class_head.0.weight".into()], ..Misfit::default() };
        assert!(misfit.to_string().contains("class-agnostic detector"));
    }

    #[test]
    fn architectures_are_told_by_their_names() {
        let of = |names: &[&'static str]| recognise(names.iter().copied());
        assert_eq!(
            of(&["backbone.embd.0.conv.weight", "cls_head.head.0.conv.weight", "backbone.stem.0.attn.query.weight"]),
            Some("ActionFormer")
        );
        assert_eq!(of(&["backbone.embd.0.conv.weight", "cls_head.head.0.conv.weight"]), Some("TemporalMaxer"));
        assert_eq!(of(&["cls_head.head.0.conv.weight", "start_head.head.0.conv.weight"]), Some("TriDet"));
        assert_eq!(of(&["regu_s.0.tconvs.0.weight"]), Some("G-TAD"));
        assert_eq!(of(&["stem.3.weight", "layer1.2.conv1.0.0.weight"]), Some("R(2+1)D-34"));
        assert_eq!(of(&["stem.3.weight", "layer1.1.conv1.0.0.weight"]), Some("R(2+1)D-18"));
        assert_eq!(of(&["layer1.0.conv3.weight", "layer1.2.conv2.weight"]), Some("ResNet-50"));
        assert_eq!(of(&["layer1.0.conv2.weight", "layer1.2.conv2.weight"]), Some("ResNet-34"));
        assert_eq!(of(&["layer1.0.conv2.weight"]), Some("ResNet-18"));
        assert_eq!(of(&["fc.weight"]), None);
    }
}
