//! `fcos convert`: turns a published checkpoint into a weights file that needs nothing beside it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fcos::model::weights::Checkpoint;
use fcos::train::with_detector_settings;
use fcos::{ClassList, DetectorConfig, DeviceSpec};

use crate::inspect::describe;
use crate::terminal::{init_logging, say};

/// Turn a published checkpoint into a weights file of this library
///
/// Reads .pth and .safetensors of torchvision, tianzhi0549/FCOS, AdelaiDet, mmdetection and ATSS.
/// Every tensor must have its place, and every place its tensor. The output holds the network's and
/// all other settings, the class names, and where it came from. Category ids are COCO's for COCO's
/// names, also where --classes gives them, and 1, 2, … for others.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  torchvision, AdelaiDet and most of mmdetection are told from the keys;
    fcos convert --input fcos_resnet50_fpn_coco-99b0c9b7.pth --output fcos.safetensors
  of the official FCOS, ATSS and mmdetection's with tower biases you say which of two networks it is;
    fcos convert --input FCOS_imprv_R_50_FPN_1x.pth --preset official-imprv --output fcos.safetensors
  and there are settings that only you know.
    fcos convert --input mine.pth --preset torchvision --classes names.txt \\
        --set preprocess.short_side=600 --output mine.safetensors
What is in a file, `fcos inspect` tells.")]
pub struct Args {
    /// Checkpoint to convert
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Weights file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[arg(long, help = preset_help())]
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

/// With the presets that the library has.
fn preset_help() -> String {
    let recipes = DetectorConfig::recipe_names()
        .collect::<Vec<_>>()
        .join(", ");
    format!("What the keys can't tell: {recipes}; with -r50 and so on if you like")
}

impl Args {
    /// Converts the checkpoint, and prints what became of it.
    ///
    /// # Errors
    /// If the checkpoint can't be read or is not the preset's, a setting or class name makes no
    /// sense, or the output can't be written.
    pub fn run(self) -> Result<()> {
        init_logging();
        let mut checkpoint = Checkpoint::read(&self.input)?;
        if self.coco80 {
            checkpoint.keep_coco80()?;
        }
        let config = checkpoint.config(self.preset.as_deref())?;
        let mut config = with_detector_settings(config, &self.sets)?;
        if let Some(file) = &self.classes {
            config.classes = read_classes(file, config.model.num_classes)?;
            config.category_ids = config.classes.category_ids();
        }
        config.provenance += &changes(&self);
        let model = checkpoint.into_model(&config, &DeviceSpec::Auto.device()?)?;
        config.save(&self.output, &model)?;
        say!("{}", config.provenance);
        say!("{}", describe(&config));
        let (millions, output) = (model.num_params() as f64 / 1e6, self.output.display());
        say!("{millions:.2} M parameters → {output}");
        say!("next: fcos predict --weights {output} IMAGE");
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_on_record() {
        let line = "convert --input a --output b --coco80 --classes n.txt --set x=1 --set y=2";
        let args = Args::try_parse_from(line.split(' ')).expect("arguments");
        assert_eq!(changes(&args), "; coco80; classes of n.txt; x=1; y=2");
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
