//! Turns a published checkpoint into a weights file that needs nothing beside it.
//!
//! ```sh
//! # What is in a file?
//! cargo run --release --example convert_weights -- --inspect fcos_resnet50_fpn_coco-99b0c9b7.pth
//!
//! # torchvision, AdelaiDet and most of mmdetection are told from the keys;
//! cargo run --release --example convert_weights -- \
//!     --input fcos_resnet50_fpn_coco-99b0c9b7.pth --output fcos.safetensors
//! # of the official FCOS, ATSS and mmdetection's with tower biases you say which of two networks it is.
//! cargo run --release --example convert_weights -- \
//!     --input FCOS_imprv_R_50_FPN_1x.pth --preset official-imprv --output fcos.safetensors
//! cargo run --release --example predict -- --weights fcos.safetensors street.jpg
//! ```
//!
//! Reads `.pth` and `.safetensors` of torchvision, tianzhi0549/FCOS, AdelaiDet, mmdetection and
//! ATSS. Every tensor must have its place, and every place its tensor. The output holds the
//! network's and all other settings, the class names, and where it came from. Category ids are
//! COCO's for COCO's names, also where `--classes` gives them, and 1, 2, … for others.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fcos::LocationRule;
use fcos::data::PreprocessConfig;
use fcos::model::NamedShape;
use fcos::model::weights::{self, Checkpoint};
use fcos::postprocess::PostprocessConfig;
use fcos::train::with_settings;
use fcos::{ClassList, DetectorConfig, DeviceSpec, FcosConfig};
use serde::{Deserialize, Serialize};

/// Turn a published checkpoint into a weights file of this library.
#[derive(Parser)]
#[command(after_help = "Examples:
  convert_weights --inspect model_final.pth
  convert_weights --input fcos_resnet50_fpn_coco-99b0c9b7.pth --output fcos.safetensors
  convert_weights --input FCOS_R_50_FPN_1x.pth --preset official-orig --output fcos.safetensors
  convert_weights --input mine.pth --preset torchvision --classes names.txt \\
                  --set preprocess.short_side=600 --output mine.safetensors")]
struct Args {
    /// Checkpoint to convert
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "inspect",
        requires = "output"
    )]
    input: Option<PathBuf>,
    /// Weights file to write
    #[arg(long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    /// Print what a file is, and stop
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    inspect: Option<PathBuf>,
    /// What the keys can't tell: official-orig, official-imprv, adelaidet, adelaidet-rt,
    /// torchvision, mmdet-plain, mmdet-tricks, mmdet-lsj, mmdet-atss, atss, atss-point; with -r50
    /// and so on if you like
    #[arg(long)]
    preset: Option<String>,
    /// Class names, one per line, N/A for outputs without a class; by default COCO's where their
    /// number fits, else class_0, …
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Of torchvision's 91 outputs, keep those of COCO's 80 classes
    #[arg(long)]
    coco80: bool,
    /// Override a setting, e.g. postprocess.nms.threshold=0.5; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// What `--set` reaches.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    model: FcosConfig,
    preprocess: PreprocessConfig,
    location_rule: LocationRule,
    postprocess: PostprocessConfig,
}

fn main() -> Result<()> {
    fcos_examples::init_logging();
    let args = Args::parse();
    match (&args.inspect, &args.input, &args.output) {
        (Some(file), ..) => print_whole(&inspect(file)?),
        (None, Some(input), Some(output)) => convert(&args, input, output),
        _ => anyhow::bail!("either --inspect FILE, or --input FILE --output FILE"),
    }
}

/// A reader that has seen enough is no error.
fn print_whole(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn convert(args: &Args, input: &Path, output: &Path) -> Result<()> {
    let mut checkpoint = Checkpoint::read(input)?;
    if args.coco80 {
        checkpoint.keep_coco80()?;
    }
    let mut config = overridden(checkpoint.config(args.preset.as_deref())?, &args.sets)?;
    config.preprocess.validate()?;
    config.postprocess.validate()?;
    if let Some(file) = &args.classes {
        config.classes = read_classes(file, config.model.num_classes)?;
        config.category_ids = config.classes.category_ids();
    }
    config.provenance += &changes(args);
    let device = DeviceSpec::Auto.device()?;
    let model = checkpoint.into_model(&config, &device)?;
    config.save(output, &model)?;
    println!("{}", config.provenance);
    println!("{}", describe(&config));
    println!(
        "{:.2} M parameters → {}",
        model.num_params() as f64 / 1e6,
        output.display()
    );
    println!(
        "next: cargo run --release --example predict -- --weights {} IMAGE",
        output.display()
    );
    Ok(())
}

/// What was done to the weights and their settings on the way, for the provenance.
fn changes(args: &Args) -> String {
    let coco80 = args.coco80.then(|| "coco80".to_owned());
    let classes = args.classes.iter();
    let classes = classes.map(|file| format!("classes of {}", file.display()));
    let sets = args.sets.iter().cloned();
    let all = coco80.into_iter().chain(classes).chain(sets);
    all.map(|change| format!("; {change}")).collect()
}

fn overridden(config: DetectorConfig, sets: &[String]) -> Result<DetectorConfig> {
    let DetectorConfig {
        model,
        preprocess,
        location_rule,
        postprocess,
        classes,
        category_ids,
        provenance,
    } = config;
    let settings = Settings {
        model,
        preprocess,
        location_rule,
        postprocess,
    };
    let settings = with_settings(&settings, sets)?;
    Ok(DetectorConfig {
        model: settings.model,
        preprocess: settings.preprocess,
        location_rule: settings.location_rule,
        postprocess: settings.postprocess,
        classes,
        category_ids,
        provenance,
    })
}

fn read_classes(file: &Path, expected: usize) -> Result<ClassList> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    // torchvision's list says so of several outputs; names have to differ.
    let names = names.enumerate().map(|(id, name)| match name {
        "N/A" => format!("unused_{id}"),
        name => name.to_owned(),
    });
    let classes = ClassList::new(names).with_context(|| file.display().to_string())?;
    ensure!(
        classes.len() == expected,
        "{}: {} names, but the network has {expected} classes",
        file.display(),
        classes.len()
    );
    Ok(classes)
}

/// What a file is, as lines of text.
fn inspect(file: &Path) -> Result<String> {
    let name = file.display();
    let ours = match weights::read(file) {
        Ok(ours) => ours,
        Err(error) if error.is_foreign() => return inspect_checkpoint(file),
        Err(error) => return Err(error.into()),
    };
    let config: DetectorConfig = serde_json::from_value(ours.metadata)
        .with_context(|| format!("{name}: no detector's settings"))?;
    let config = DetectorConfig {
        model: ours.model,
        ..config
    };
    let settings = describe(&config);
    Ok(format!(
        "{name}: a weights file of this library\n{}\n{settings}\n",
        config.provenance
    ))
}

fn inspect_checkpoint(file: &Path) -> Result<String> {
    let checkpoint = Checkpoint::read(file)?;
    let backbone = match checkpoint.arch() {
        Some(arch) => format!("backbone {}", arch.name()),
        None => "a backbone that this library does not have".into(),
    };
    let use_as = match checkpoint.presets() {
        _ if !checkpoint.unknown().is_empty() => "cannot be converted: see the last lines".into(),
        [] => "for train_coco --backbone-weights".into(),
        [only] => format!("preset {only}"),
        several => format!("preset: one of {}; the keys can't tell", several.join(", ")),
    };
    let head = format!(
        "{}: {}\n{backbone}\n{use_as}\n",
        file.display(),
        checkpoint.format()
    );
    let tensor = |(name, shape): (&str, &[usize])| format!("  {name} {shape:?}\n");
    let unknown = |(name, shape): &NamedShape| format!("  no network has {name} {shape:?}\n");
    let tensors: String = checkpoint.shapes().map(tensor).collect();
    let unknown: String = checkpoint.unknown().iter().map(unknown).collect();
    Ok(head + &tensors + &unknown)
}

/// The settings that matter, a line each.
fn describe(config: &DetectorConfig) -> String {
    let DetectorConfig {
        model,
        preprocess,
        location_rule,
        postprocess,
        classes,
        ..
    } = config;
    let network = match model.backbone.as_resnet() {
        Some(resnet) => format!("{}, width {}", resnet.arch, resnet.width),
        None => model.backbone.name().into(),
    };
    format!(
        "network      {network}, {} classes, {} levels\n\
         preprocess   short side {}, long side {}, {:?}, {:?}\n\
         locations    {location_rule:?}\n\
         postprocess  {:?}, NMS at {}\n\
         classes      {}, …",
        model.num_classes,
        model.num_levels(),
        preprocess.short_side,
        preprocess.long_side,
        preprocess.channels,
        preprocess.resize,
        postprocess.score_rule,
        postprocess.nms.threshold,
        classes.iter().take(4).collect::<Vec<_>>().join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_every_part_can_be_changed() {
        let config = DetectorConfig::preset("official-orig").expect("a preset");
        let sets = [
            "preprocess.short_side=600",
            "postprocess.nms.threshold=0.5",
            "model.head.box_activation=relu_stride",
            "location_rule=torchvision",
        ];
        let changed = overridden(config.clone(), &sets.map(String::from)).expect("settings");
        assert_eq!(changed.preprocess.short_side, 600);
        assert_eq!(changed.location_rule, LocationRule::Torchvision);
        assert_eq!(changed.classes, config.classes);
        assert_eq!(changed.category_ids, config.category_ids);
        assert!(overridden(config, &["postprocess.nsm=1".into()]).is_err());
    }

    #[test]
    fn changes_are_on_record() {
        let line = "convert --input a --output b --coco80 --classes n.txt --set x=1 --set y=2";
        let args = Args::try_parse_from(line.split(' ')).expect("arguments");
        assert_eq!(changes(&args), "; coco80; classes of n.txt; x=1; y=2");
    }

    #[test]
    fn files_that_cannot_be_converted_say_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("model.safetensors");
        let header = r#"{"rpn.head.cls_logits.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
            "backbone.body.layer2.0.conv2.offset.weight":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        let whole = [length.as_slice(), header.as_bytes(), &[0; 8]].concat();
        fs::write(&file, &whole).expect("written");
        let text = inspect(&file).expect("known keys");
        assert!(text.contains("cannot be converted"), "{text}");
        assert!(
            text.ends_with("no network has backbone.body.layer2.0.conv2.offset.weight [1]\n"),
            "{text}"
        );
        fs::write(&file, &whole[..whole.len() - 1]).expect("written");
        assert!(
            inspect(&file)
                .expect_err("cut")
                .to_string()
                .contains("truncated")
        );
    }

    #[test]
    fn class_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("names.txt");
        fs::write(&file, "N/A\ncat\nN/A\n").expect("written");
        let names = read_classes(&file, 3).expect("three names");
        assert_eq!(
            names.iter().collect::<Vec<_>>(),
            ["unused_0", "cat", "unused_2"]
        );
        fs::write(&file, "cat\n\n dog \n").expect("written");
        assert_eq!(read_classes(&file, 2).expect("two names").name(1), "dog");
        assert!(read_classes(&file, 3).is_err());
        assert!(read_classes(&dir.path().join("none"), 3).is_err());
    }
}
