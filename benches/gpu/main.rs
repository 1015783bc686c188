//! Prediction and training at COCO's size on one device: FCOS with a ResNet-50 in torchvision's
//! version, random weights, 800 × 1088.
//!
//! ```sh
//! benches/gpu/run.sh cuda                     # everything, beside torchvision, into one table
//! cargo bench -p fcos-benches --bench gpu --features cuda -- --device cuda
//! cargo bench -p fcos-benches --bench gpu -- --tiny --runs 2
//! ```
//!
//! A row per measurement: the first run, which compiles and tunes kernels, then the median and the
//! fastest of the others. `forward` ends when the device has finished; `predict` includes
//! preprocessing of a 640 × 480 image, the read and the postprocessing.

use std::time::Instant;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, FloatDType, Int, Tensor};
use clap::Parser;
use fcos::loss::{BatchCounts, FcosLoss, LossConfig, LossInput, LossTargets, Normalizer};
use fcos::model::{Fcos, FcosConfig, Predictions};
use fcos::{ClassList, Detector, DetectorConfig, DeviceSpec};
use image::RgbImage;

#[derive(Parser)]
struct Args {
    /// Where to compute; the example `devices` lists the devices
    #[arg(long, default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
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

/// What to measure on.
struct Setup {
    device: Device,
    network: FcosConfig,
    height: usize,
    width: usize,
    /// Images per prediction.
    batches: [usize; 2],
    /// Images per training step.
    train_batch: usize,
    runs: usize,
}

impl Setup {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let (network, [height, width], batches, train_batch) = match args.tiny {
            true => (FcosConfig::tiny(), [64, 96], [1, 2], 2),
            false => {
                let network = FcosConfig::preset("torchvision-r50")?;
                (network, [800, 1088], [1, 8], 16)
            }
        };
        Ok(Self {
            device: args.device.device()?,
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
    fn measure(&self, what: &str, batch: usize, dtype: FloatDType, mut run: impl FnMut()) {
        let mut time = || {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        };
        let first = time();
        let mut times: Vec<f64> = (0..self.runs).map(|_| time()).collect();
        times.sort_by(f64::total_cmp);
        let (median, fastest) = (times[times.len() / 2], times[0]);
        println!("fcos,{what},{batch},{dtype:?},{first:.0},{median:.2},{fastest:.2}");
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let setup = Setup::new(&args)?;
    println!("implementation,what,batch,precision,first_ms,median_ms,fastest_ms");
    predict(&setup)?;
    for dtype in [FloatDType::F32, FloatDType::BF16] {
        if !setup.device.supports_dtype(dtype) {
            eprintln!("{}: no {dtype:?}", args.device);
            continue;
        }
        forward(&setup, dtype)?;
        train(&setup, dtype)?;
    }
    Ok(())
}

fn predict(setup: &Setup) -> anyhow::Result<()> {
    let names: Vec<String> = (0..setup.network.num_classes)
        .map(|c| c.to_string())
        .collect();
    let mut config = DetectorConfig::new(setup.network.clone(), ClassList::new(names)?);
    config.preprocess.short_side = setup.height;
    let detector = Detector::new(config.model.init(&setup.device)?, config);
    let image = RgbImage::from_fn(640, 480, |x, y| {
        image::Rgb([x as u8, y as u8, (x * y) as u8])
    });
    for batch in setup.batches {
        let images = vec![&image; batch];
        setup.measure("predict", batch, FloatDType::F32, || {
            detector.predict_rgb(&images).expect("predicts");
        });
    }
    Ok(())
}

/// Casts every parameter.
struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

fn network(setup: &Setup, device: &Device, dtype: FloatDType) -> anyhow::Result<Fcos> {
    Ok(setup.network.init(device)?.map(&mut Cast(dtype)))
}

fn forward(setup: &Setup, dtype: FloatDType) -> anyhow::Result<()> {
    let model = network(setup, &setup.device, dtype)?.fold_batch_norm();
    for batch in setup.batches {
        let images = setup.images(batch, &setup.device).cast(dtype);
        setup.measure("forward", batch, dtype, || {
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
        ltrb: Tensor::full([batch, locations, 4], 2.0, device),
        centerness: Tensor::full(shape, 0.5, device),
    };
    (targets, normalizer)
}

fn losses(loss: &FcosLoss, output: Predictions, against: &(LossTargets, Normalizer)) -> Tensor<1> {
    let input = LossInput {
        cls_logits: output.cls_logits.cast(FloatDType::F32),
        ltrb: output.ltrb.cast(FloatDType::F32),
        centerness: output.centerness.cast(FloatDType::F32),
    };
    loss.forward(input, against.0.clone(), &against.1).total()
}

fn train(setup: &Setup, dtype: FloatDType) -> anyhow::Result<()> {
    let device = setup.device.clone().autodiff();
    let batch = setup.train_batch;
    let mut model = Some(network(setup, &device, dtype)?);
    let images = setup.images(batch, &device).cast(dtype);
    let size = fcos::core::Size {
        width: setup.width,
        height: setup.height,
    };
    let grids = fcos::core::pyramid_grids(size, &setup.network.strides());
    let locations = grids.iter().map(|grid| grid.width * grid.height).sum();
    let targets = targets(batch, locations, &device);
    let momentum = MomentumConfig::new().with_dampening(0.0);
    let mut sgd: ModuleOptimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let loss = LossConfig::default().init();
    setup.measure("train", batch, dtype, || {
        let network = model.take().expect("put back by every step");
        let total = losses(&loss, network.forward(images.clone()), &targets);
        let gradients = GradientsParams::from_grads(total.backward(), &network);
        model = Some(sgd.step(1e-6, network, gradients));
        setup.device.sync().expect("the device works");
    });
    Ok(())
}
