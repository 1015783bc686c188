//! The network's float tensors by name: reading them out, and putting others in. Tensors of whole
//! numbers or truth values, which a backbone of one's own may have, are none of them.
//!
//! A name is the path through the modules, as PyTorch would call it: `backbone.stem.conv.weight`,
//! `backbone.stages.0.1.conv2.norm.running_var`, `head.cls_tower.0.norm.bias`.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

use crate::backbone::BackboneModel;
use crate::fcos::Fcos;

/// Float tensors by name. Their layout is PyTorch's: `[out, in / groups, rows, columns]` for a
/// convolution.
pub type NamedTensors = BTreeMap<String, TensorData>;

/// A tensor's name and shape.
pub type NamedShape = (String, Vec<usize>);

/// What keeps a set of tensors from being a network's: every list is in the order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorMismatch {
    /// Tensors of the network that are not among those given.
    pub missing: Vec<NamedShape>,
    /// Tensors given that the network doesn't have.
    pub unexpected: Vec<NamedShape>,
    /// Tensors of another shape, or another type than `f32`.
    pub different: Vec<TensorDifference>,
}

/// A tensor that has the right name only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorDifference {
    /// Its name.
    pub name: String,
    /// The network's shape.
    pub expected: Vec<usize>,
    /// The shape given.
    pub found: Vec<usize>,
    /// The type given, such as `F16`.
    pub dtype: String,
}

impl TensorMismatch {
    /// Whether there is nothing to complain about.
    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.different.is_empty()
    }
}

impl std::error::Error for TensorMismatch {}

impl std::fmt::Display for TensorMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let difference = |d: &TensorDifference| {
            let TensorDifference {
                name,
                expected,
                found,
                dtype,
            } = d;
            format!("{name} is {dtype} {found:?} instead of F32 {expected:?}")
        };
        let named = |(name, shape): &NamedShape| format!("{name} {shape:?}");
        let parts: [(_, Vec<_>); 3] = [
            ("missing", self.missing.iter().map(named).collect()),
            ("unexpected", self.unexpected.iter().map(named).collect()),
            ("different", self.different.iter().map(difference).collect()),
        ];
        let parts = parts.iter().filter(|(_, list)| !list.is_empty());
        let parts: Vec<_> = parts.map(|(what, list)| shorten(what, list)).collect();
        f.write_str(&parts.join("; "))
    }
}

/// `what` with its number and the first few of the list.
fn shorten(what: &str, list: &[String]) -> String {
    const SHOWN: usize = 8;
    let first = list[..list.len().min(SHOWN)].join(", ");
    let rest = if list.len() > SHOWN { ", …" } else { "" };
    format!("{} {what}: {first}{rest}", list.len())
}

impl<B: BackboneModel> Fcos<B> {
    /// A copy of all parameters and running statistics on the host, as `f32`: of every float tensor.
    pub fn tensors(&self) -> NamedTensors {
        let mut reader = Reader::default();
        self.valid().visit(&mut reader); // `valid` takes in statistics that wait for their update
        reader.tensors
    }

    /// The same network with these parameters and running statistics. What is frozen stays so.
    ///
    /// # Errors
    /// Unless the tensors' names and shapes are exactly the network's, and their type is `f32`.
    pub fn with_tensors(self, tensors: NamedTensors) -> Result<Self, TensorMismatch> {
        let mismatch = compare(&shapes(&self), &tensors);
        if !mismatch.is_empty() {
            return Err(mismatch);
        }
        let mut writer = Writer {
            path: ParamPath::default(),
            tensors,
        };
        Ok(self.detach_statistics().map(&mut writer))
    }
}

/// Whether a tensor is a running statistic rather than a parameter.
pub(crate) fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// The shapes of all the network's tensors by name. Draws no parameters.
pub(crate) fn shapes(model: &impl Module) -> BTreeMap<String, Vec<usize>> {
    let mut visitor = Shapes::default();
    model.visit(&mut visitor);
    visitor.shapes
}

/// A name that more than one of the module's tensors has, if there is one. Draws no parameters.
pub(crate) fn repeated_name(model: &impl Module) -> Option<String> {
    let mut visitor = Shapes::default();
    model.visit(&mut visitor);
    visitor.repeated
}

fn compare(expected: &BTreeMap<String, Vec<usize>>, given: &NamedTensors) -> TensorMismatch {
    let absent = |(name, shape): (&String, &Vec<usize>)| {
        (!given.contains_key(name)).then(|| (name.clone(), shape.clone()))
    };
    let extra = |(name, data): (&String, &TensorData)| {
        (!expected.contains_key(name)).then(|| (name.clone(), data.shape().to_vec()))
    };
    let different = |(name, data): (&String, &TensorData)| {
        let expected = expected.get(name)?;
        let same = data.shape().as_slice() == expected && data.dtype() == DType::F32;
        (!same).then(|| TensorDifference {
            name: name.clone(),
            expected: expected.clone(),
            found: data.shape().to_vec(),
            dtype: format!("{:?}", data.dtype()),
        })
    };
    TensorMismatch {
        missing: expected.iter().filter_map(absent).collect(),
        unexpected: given.iter().filter_map(extra).collect(),
        different: given.iter().filter_map(different).collect(),
    }
}

/// Where a visitor or mapper of Burn's is in a network, told by what it enters and leaves.
///
/// A `#[derive(Module)]` on an enum makes a step of the variant that it is; that step is left out,
/// so that a tensor's name depends on the fields alone.
#[derive(Debug, Clone, Default)]
pub struct ParamPath {
    fields: Vec<String>,
}

impl ParamPath {
    /// What Burn calls the containers that are no part of a path.
    const LEFT_OUT: &str = "Enum:";

    /// To be called from `enter_module`.
    pub fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with(Self::LEFT_OUT) {
            self.fields.push(name.into());
        }
    }

    /// To be called from `exit_module`.
    pub fn exit(&mut self, container: &str) {
        if !container.starts_with(Self::LEFT_OUT) {
            self.fields.pop();
        }
    }

    /// The fields, joined by dots, as Burn calls them: `backbone.stem.norm.gamma`.
    pub fn fields(&self) -> String {
        self.fields.join(".")
    }

    /// As [`fields`](Self::fields), but as PyTorch calls a normalisation's γ and β, which are
    /// `weight` and `bias`: a key of [`NamedTensors`].
    pub fn name(&self) -> String {
        let rename = |field: &String| match field.as_str() {
            "gamma" => "weight".into(),
            "beta" => "bias".into(),
            _ => field.clone(),
        };
        self.fields.iter().map(rename).collect::<Vec<_>>().join(".")
    }
}

#[derive(Default)]
struct Shapes {
    path: ParamPath,
    shapes: BTreeMap<String, Vec<usize>>,
    /// A name that has come before.
    repeated: Option<String>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        let shape = param.lazy_shape().to_vec();
        if self.shapes.insert(name.clone(), shape).is_some() {
            self.repeated = Some(name);
        }
    }
}

#[derive(Default)]
struct Reader {
    path: ParamPath,
    tensors: NamedTensors,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data().convert::<f32>();
        self.tensors.insert(self.path.name(), data);
    }
}

struct Writer {
    path: ParamPath,
    tensors: NamedTensors,
}

impl ModuleMapper for Writer {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.tensors.remove(&self.path.name()) {
            Some(data) => {
                let tensor = Tensor::from_data(data, &param.lazy_device());
                let id = param.id;
                param.transform_for_load(tensor, id)
            }
            None => param,
        }
    }
}
