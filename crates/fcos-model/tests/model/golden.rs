//! Against networks that torch and torchvision computed: `testdata/model/make_goldens.py`.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use fcos_model::{FcosConfig, NamedTensors};
use safetensors::SafeTensors;

use crate::{relative_error, values};

/// Relative to the largest value of the tensor.
const TOLERANCE: f32 = 1e-5;

struct Golden {
    config: FcosConfig,
    tensors: NamedTensors,
}

impl Golden {
    fn read(name: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/model");
        let bytes = std::fs::read(format!("{folder}/golden_{name}.safetensors")).expect(name);
        let (_, header) = SafeTensors::read_metadata(&bytes).expect(name);
        let metadata = header.metadata().as_ref().expect(name);
        let file = SafeTensors::deserialize(&bytes).expect(name);
        let tensors = file.iter().map(|(name, view)| {
            let shape = view.shape().to_vec();
            let data = TensorData::from_bytes_vec(view.data().to_vec(), shape, DType::F32);
            (name.to_string(), data)
        });
        Self {
            config: serde_json::from_str(&metadata["config"]).expect(name),
            tensors: tensors.collect(),
        }
    }

    fn weights(&self) -> NamedTensors {
        let strip = |(name, data): (&String, &TensorData)| {
            Some((name.strip_prefix("weights/")?.to_string(), data.clone()))
        };
        self.tensors
            .iter()
            .filter_map(strip)
            .collect::<BTreeMap<_, _>>()
    }

    fn check<const D: usize>(&self, name: &str, found: &Tensor<D>) {
        let expected = &self.tensors[name];
        assert_eq!(
            found.dims().as_slice(),
            expected.shape().as_slice(),
            "{name}"
        );
        let expected: Vec<f32> = expected.try_to_vec::<f32>().expect("f32");
        let error = relative_error(&values(found), &expected);
        assert!(error < TOLERANCE, "{name}: {error}");
    }
}

fn compare(case: &str) {
    let golden = Golden::read(case);
    let device = Device::flex();
    let model = golden.config.init(&device).expect(case);
    let model = model.with_tensors(golden.weights()).expect(case);
    for model in [model.clone(), model.fold_batch_norm()] {
        let images = Tensor::<4>::from_data(golden.tensors["input"].clone(), &device);
        let features = model.forward_features(images.clone());
        for (i, map) in features.backbone.iter().enumerate() {
            golden.check(&format!("c{}", i + 3), map);
        }
        for (i, map) in features.pyramid.iter().enumerate() {
            golden.check(&format!("p{}", i + 3), map);
        }
        let output = model.forward(images);
        golden.check("cls_logits", &output.cls_logits);
        golden.check("ltrb", &output.ltrb);
        golden.check("centerness", &output.centerness.squeeze_dim::<2>(2));
    }
}

#[test]
fn bottlenecks_exp_and_centerness_on_cls() {
    compare("exp");
}

#[test]
fn basic_blocks_and_relu() {
    compare("relu");
}

#[test]
fn anchor_deltas_and_p6_of_c5() {
    compare("anchor");
}

/// Boxes that name their last pixel: half a pixel less on each side.
#[test]
fn legacy_anchor_deltas() {
    compare("legacy_anchor");
}
