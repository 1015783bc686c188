//! Settings of which a network's tensors know nothing, but without which they mean something else.

use std::path::Path;

use serde_json::Value;

use super::{Kind, WeightsError};
use crate::config::FcosConfig;

/// That a network is what its tensors were trained as. What matters only in training may differ.
pub(super) fn compare(
    path: &Path,
    mut trained: FcosConfig,
    model: &FcosConfig,
) -> Result<(), WeightsError> {
    trained.backbone.train_as(&model.backbone);
    trained.head.bbox_bias = model.head.bbox_bias;
    trained.head.prior = model.head.prior;
    if trained == *model {
        return Ok(());
    }
    let [trained, model] = [&trained, model].map(|c| serde_json::to_value(c).unwrap_or_default());
    let mut settings = Vec::new();
    differences("model", &trained, &model, &mut settings);
    let settings = settings.join("; ");
    Err(Kind::OtherSettings { settings }.at(path))
}

fn differences(at: &str, trained: &Value, model: &Value, found: &mut Vec<String>) {
    match (trained, model) {
        (Value::Object(trained), Value::Object(model)) => {
            for (name, trained) in trained {
                let model = model.get(name).unwrap_or(&Value::Null);
                differences(&format!("{at}.{name}"), trained, model, found);
            }
        }
        _ if trained == model => {}
        _ => found.push(format!("{at} was {trained} and is {model}")),
    }
}
