//! Prediction and training at COCO's size on one device: FCOS with a ResNet-50 in torchvision's
//! version, random weights, 800 × 1088.
//!
//! ```sh
//! benches/gpu/run.sh cuda                     # everything, beside torchvision, into one table
//! cargo bench -p fcos-benches --bench gpu --features cuda -- --device cuda --precision bf16
//! cargo bench -p fcos-benches --bench gpu --features cuda -- --device cuda --part predict --batch 8
//! cargo bench -p fcos-benches --bench gpu -- --tiny --runs 2
//! ```
//!
//! A row per measurement: the first run, which compiles and tunes kernels, then the median and the
//! fastest of the others. `forward` ends when the device has finished; `predict` includes
//! preprocessing of a 640 × 480 image, the read and the postprocessing. A device has one precision
//! for as long as the program runs; in `bf16` only losses are computed in `f32`.

use std::time::Instant;

use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{DType, Device, FloatDType, Int, Tensor};
use clap::{Parser, ValueEnum};
use fcos::loss::{BatchCounts, FcosLoss, LossConfig, LossTargets, Normalizer};
use fcos::model::{FcosConfig, Outputs};
use fcos::{ClassList, Detector, DetectorConfig, DeviceSpec};
use image::RgbImage;

#[derive(Parser)]
struct Args {
    /// Where to compute; `fcos devices` lists the devices
    #[arg(long, default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
    /// What to measure; everything where it is left out
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Images per run of that part, instead of 1 and 8, or 16 in training
    #[arg(long, requires = "part", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    #[arg(long, value_enum, default_value = "f32")]
    precision: Precision,
    /// Runs after the first
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// A small network on small images, to try this program out
    #[arg(long)]
    tiny: bool,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    /// From pictures to detections
    Predict,
    /// The network alone
    Forward,
    /// A training step
    Train,
}

#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    /// On CUDA, products in TF32
    F32,
    Bf16,
}

/// What to measure on.
struct Setup {
    device: Device,
    dtype: FloatDType,
    network: FcosConfig,
    height: usize,
    width: usize,
    /// Images per prediction.
    batches: Vec<usize>,
    /// Images per training step.
    train_batch: usize,
    runs: usize,
}

impl Setup {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let (network, [height, width], batches, train_batch) = match args.tiny {
            true => (FcosConfig::tiny(), [64, 96], vec![1, 2], 2),
            false => {
                let network = FcosConfig::preset("torchvision-r50")?;
                (network, [800, 1088], vec![1, 8], 16)
            }
        };
        let (batches, train_batch) = match args.batch.map(usize::from) {
            Some(batch) => (vec![batch], batch),
            None => (batches, train_batch),
        };
        let dtype = match args.precision {
            Precision::F32 => FloatDType::F32,
            Precision::Bf16 => FloatDType::BF16,
        };
        let mut device = args.device.device()?;
        // `f32` is every device's own; `auto` has settled it already.
        if dtype != FloatDType::F32 {
            device.configure(dtype)?;
        }
        Ok(Self {
            device,
            dtype,
            network,
            height,
            width,
            batches,
            train_batch,
            runs: args.runs.max(1),
        })
    }

    fn images(&self, count: usize, device: &Device) -> Tensor<4> {
        let shape = [count, 3, self.height, self.width];
        Tensor::random(shape, burn::tensor::Distribution::Normal(0.0, 1.0), device)
    }

    /// Prints a row.
    fn measure(&self, what: &str, batch: usize, mut run: impl FnMut()) {
        let mut time = || {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        };
        let first = time();
        let mut times: Vec<f64> = (0..self.runs).map(|_| time()).collect();
        times.sort_by(f64::total_cmp);
        let (median, fastest) = (times[times.len() / 2], times[0]);
        let dtype = format!("{:?}", self.dtype).to_lowercase();
        println!("fcos,{what},{batch},{dtype},{first:.0},{median:.2},{fastest:.2}");
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let setup = Setup::new(&args)?;
    println!("implementation,what,batch,precision,first_ms,median_ms,fastest_ms");
    let all = [Part::Predict, Part::Forward, Part::Train];
    let parts = args.part.map_or(all.to_vec(), |part| vec![part]);
    parts.into_iter().try_for_each(|part| match part {
        Part::Predict => predict(&setup),
        Part::Forward => forward(&setup),
        Part::Train => train(&setup),
    })
}

fn predict(setup: &Setup) -> anyhow::Result<()> {
    let names: Vec<String> = (0..setup.network.num_classes)
        .map(|c| c.to_string())
        .collect();
    let mut config = DetectorConfig::new(setup.network.clone(), ClassList::new(names)?);
    config.preprocess.short_side = setup.height;
    let detector = Detector::new(config.model.init(&setup.device)?, config)?;
    let image = RgbImage::from_fn(640, 480, |x, y| {
        image::Rgb([x as u8, y as u8, (x * y) as u8])
    });
    for &batch in &setup.batches {
        let images = vec![&image; batch];
        setup.measure("predict", batch, || {
            detector.predict_rgb(&images).expect("predicts");
        });
    }
    Ok(())
}

fn forward(setup: &Setup) -> anyhow::Result<()> {
    let model = setup.network.init(&setup.device)?.fold_batch_norm();
    for &batch in &setup.batches {
        let images = setup.images(batch, &setup.device);
        setup.measure("forward", batch, || {
            let output = model.forward(images.clone());
            setup.device.sync().expect("the device works");
            drop(output);
        });
    }
    Ok(())
}

/// One location in fifty is positive.
fn targets(batch: usize, locations: usize, device: &Device) -> (LossTargets, Normalizer) {
    let labels: Vec<i32> = (0..batch * locations)
        .map(|i| if i % 50 == 0 { 0 } else { -1 })
        .collect();
    let centerness = vec![0.5; batch * locations];
    let normalizer = Normalizer::new(BatchCounts::from_targets(&labels, &centerness));
    let shape = [batch, locations];
    let targets = LossTargets {
        labels: Tensor::<1, Int>::from_ints(labels.as_slice(), device).reshape(shape),
        ltrb: Tensor::full([batch, locations, 4], 2.0, (device, DType::F32)),
        centerness: Tensor::full(shape, 0.5, (device, DType::F32)),
    };
    (targets, normalizer)
}

fn losses(
    loss: &FcosLoss,
    outputs: Outputs<Tensor<3>>,
    against: &(LossTargets, Normalizer),
) -> Tensor<1> {
    let outputs = outputs.map(|output| output.cast(FloatDType::F32));
    loss.forward(outputs, against.0.clone(), &against.1).total()
}

fn train(setup: &Setup) -> anyhow::Result<()> {
    let device = setup.device.clone().autodiff();
    let batch = setup.train_batch;
    let mut model = Some(setup.network.init(&device)?);
    let images = setup.images(batch, &device);
    let size = fcos::Size {
        width: setup.width,
        height: setup.height,
    };
    let grids = fcos::pyramid_grids(size, &setup.network.strides());
    let locations = grids.iter().map(|grid| grid.width * grid.height).sum();
    let targets = targets(batch, locations, &device);
    let momentum = MomentumConfig::new().with_dampening(0.0);
    let mut sgd: ModuleOptimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let loss = LossConfig::default().init();
    setup.measure("train", batch, || {
        let network = model.take().expect("put back by every step");
        let total = losses(&loss, network.forward(images.clone()), &targets);
        let gradients = GradientsParams::from_grads(total.backward(), &network);
        model = Some(sgd.step(1e-6, network, gradients));
        setup.device.sync().expect("the device works");
    });
    Ok(())
}
