//! Convolutions against the definition in double precision and against Burn's own.

mod common;

use burn::tensor::module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Device, Tensor};
use common::{Random, assert_close, bits, values};
use fcos_kernels::{Activation, Conv2dOptions, conv2d, relu};

/// Sizes of one convolution; `size` is the input's, all squares have one number.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    cin: usize,
    cout: usize,
    size: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
}

const fn case(batch: usize, channels: [usize; 2], size: [usize; 2], kernel: usize) -> Case {
    Case {
        batch,
        cin: channels[0],
        cout: channels[1],
        size,
        kernel,
        stride: 1,
        padding: kernel / 2,
        dilation: 1,
        groups: 1,
    }
}

impl Case {
    const fn stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    const fn padding(mut self, padding: usize) -> Self {
        self.padding = padding;
        self
    }

    const fn dilation(mut self, dilation: usize) -> Self {
        self.dilation = dilation;
        self
    }

    const fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    fn options(&self) -> Conv2dOptions {
        Conv2dOptions {
            stride: [self.stride; 2],
            padding: [self.padding; 2],
            dilation: [self.dilation; 2],
            groups: self.groups,
            then: Activation::Nothing,
        }
    }

    fn output(&self) -> [usize; 2] {
        let reach = self.dilation * (self.kernel - 1) + 1;
        self.size
            .map(|size| (size + 2 * self.padding - reach) / self.stride + 1)
    }

    fn x_dims(&self) -> [usize; 4] {
        [self.batch, self.cin, self.size[0], self.size[1]]
    }

    fn weight_dims(&self) -> [usize; 4] {
        [self.cout, self.cin / self.groups, self.kernel, self.kernel]
    }

    fn y_dims(&self) -> [usize; 4] {
        let [height, width] = self.output();
        [self.batch, self.cout, height, width]
    }
}

/// Odd sizes, single pixels, every algorithm (Winograd, pointwise, unfolding) and its borders.
const CASES: &[Case] = &[
    case(1, [1, 1], [1, 1], 1),
    case(1, [3, 5], [1, 1], 3),
    case(3, [17, 19], [1, 1], 3),
    case(1, [3, 7], [9, 6], 1),
    case(3, [7, 3], [11, 13], 1),
    case(3, [5, 33], [9, 7], 1).stride(2),
    case(2, [5, 6], [8, 8], 1).padding(1),
    case(1, [3, 4], [5, 7], 3),
    case(3, [5, 3], [5, 7], 3).padding(0),
    case(1, [6, 10], [8, 5], 3).stride(2),
    case(3, [3, 2], [7, 9], 3).stride(2).padding(0),
    case(1, [2, 3], [9, 9], 3).padding(3),
    case(2, [3, 5], [11, 9], 3).dilation(2),
    case(1, [3, 8], [19, 23], 7).stride(2),
    case(3, [3, 5], [9, 8], 7),
    case(1, [2, 3], [10, 11], 7).padding(0).stride(3),
    case(2, [6, 4], [9, 7], 3).groups(2),
    case(1, [64, 128], [7, 5], 3).groups(32),
    case(3, [64, 32], [6, 9], 3).groups(32).stride(2),
    case(2, [32, 32], [5, 5], 1).groups(32),
    case(1, [4, 6], [8, 7], 7).groups(2).padding(1),
    case(1, [16, 16], [24, 24], 3),
    case(3, [17, 19], [13, 15], 3),
    case(3, [16, 33], [17, 21], 3).padding(0),
    case(1, [33, 16], [30, 2], 3).padding(2),
    case(1, [16, 20], [129, 3], 3),
    case(2, [40, 24], [20, 28], 3),
    case(1, [65, 64], [30, 45], 3),
    case(1, [96, 130], [12, 50], 3),
];

/// The definition, and its three gradients for the output gradient `dy`.
struct Reference {
    y: Vec<f64>,
    dx: Vec<f64>,
    dweight: Vec<f64>,
    dbias: Vec<f64>,
}

fn reference(case: &Case, x: &[f64], weight: &[f64], bias: &[f64], dy: &[f64]) -> Reference {
    let ([height, width], [rows, cols]) = (case.size, case.output());
    let (per_in, per_out) = (case.cin / case.groups, case.cout / case.groups);
    let mut result = Reference {
        y: vec![0.0; dy.len()],
        dx: vec![0.0; x.len()],
        dweight: vec![0.0; weight.len()],
        dbias: vec![0.0; bias.len()],
    };
    for (out, &grad) in dy.iter().enumerate() {
        let (row, col) = (out / cols % rows, out % cols);
        let (co, image) = (out / cols / rows % case.cout, out / cols / rows / case.cout);
        result.y[out] += bias[co];
        result.dbias[co] += grad;
        for tap in 0..per_in * case.kernel * case.kernel {
            let (kx, ky) = (tap % case.kernel, tap / case.kernel % case.kernel);
            let ci = co / per_out * per_in + tap / case.kernel / case.kernel;
            let y = (row * case.stride + ky * case.dilation).wrapping_sub(case.padding);
            let x_col = (col * case.stride + kx * case.dilation).wrapping_sub(case.padding);
            if y < height && x_col < width {
                let from = ((image * case.cin + ci) * height + y) * width + x_col;
                let at = co * per_in * case.kernel * case.kernel + tap;
                result.y[out] += x[from] * weight[at];
                result.dx[from] += grad * weight[at];
                result.dweight[at] += grad * x[from];
            }
        }
    }
    result
}

struct Inputs {
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    dy: Tensor<4>,
}

impl Inputs {
    fn new(case: &Case, device: &Device) -> Self {
        let mut random = Random::new(7);
        Self {
            x: random.tensor(case.x_dims(), device).require_grad(),
            weight: random.tensor(case.weight_dims(), device).require_grad(),
            bias: random.tensor([case.cout], device).require_grad(),
            dy: random.tensor(case.y_dims(), device),
        }
    }

    fn run(&self, case: &Case) -> Tensor<4> {
        let bias = Some(self.bias.clone());
        conv2d(self.x.clone(), self.weight.clone(), bias, case.options())
    }

    /// The output of `y = f(x, weight, bias)` and the gradients of `Σ y dy`.
    fn gradients(&self, y: Tensor<4>) -> (Tensor<4>, Tensor<4>, Tensor<1>) {
        let grads = (y * self.dy.clone()).sum().backward();
        (
            self.x.grad(&grads).expect("gradient to x"),
            self.weight.grad(&grads).expect("gradient to the weight"),
            self.bias.grad(&grads).expect("gradient to the bias"),
        )
    }
}

fn assert_matches_definition(case: &Case, tolerance: f64) {
    let inputs = Inputs::new(case, &Device::flex().autodiff());
    let expected = reference(
        case,
        &values(&inputs.x),
        &values(&inputs.weight),
        &values(&inputs.bias),
        &values(&inputs.dy),
    );
    let y = inputs.run(case);
    assert_eq!(y.dims(), case.y_dims());
    assert_close(&y, &expected.y, tolerance, &format!("output of {case:?}"));
    let (dx, dweight, dbias) = inputs.gradients(y);
    assert_close(&dx, &expected.dx, tolerance, &format!("dx of {case:?}"));
    assert_close(
        &dweight,
        &expected.dweight,
        tolerance,
        &format!("dweight of {case:?}"),
    );
    assert_close(
        &dbias,
        &expected.dbias,
        tolerance,
        &format!("dbias of {case:?}"),
    );
}

/// Large enough to be worked on in several blocks, which span images.
const LARGE_CASES: &[Case] = &[
    case(3, [16, 16], [170, 172], 3),
    case(3, [8, 9], [90, 94], 5),
    case(2, [8, 8], [120, 110], 7).stride(2),
    case(2, [9, 7], [110, 93], 1),
];

#[test]
fn blocks_add_up() {
    for case in LARGE_CASES {
        assert_matches_definition(case, 5e-6);
    }
}

#[test]
fn matches_the_definition_in_double_precision() {
    for case in CASES {
        assert_matches_definition(case, 5e-6);
    }
}

/// Many channels add up most rounding; 5e-6 is the most the project allows Winograd.
#[test]
fn winograd_is_accurate_with_many_channels() {
    for channels in [64, 256, 512] {
        assert_matches_definition(&case(1, [channels, channels], [24, 24], 3), 5e-6);
    }
}

#[test]
fn matches_burn() {
    for case in CASES {
        let inputs = Inputs::new(case, &Device::flex().autodiff());
        let options = ConvOptions::new(
            [case.stride; 2],
            [case.padding; 2],
            [case.dilation; 2],
            case.groups,
        );
        let (x, weight) = (inputs.x.clone(), inputs.weight.clone());
        let stock = module::conv2d(x, weight, Some(inputs.bias.clone()), options);
        let ours = inputs.run(case);
        assert_close(&ours, &values(&stock), 1e-4, &format!("output of {case:?}"));
        let stock = inputs.gradients(stock);
        let ours = inputs.gradients(ours);
        assert_close(&ours.0, &values(&stock.0), 1e-4, &format!("dx of {case:?}"));
        assert_close(
            &ours.1,
            &values(&stock.1),
            1e-4,
            &format!("dweight of {case:?}"),
        );
        assert_close(
            &ours.2,
            &values(&stock.2),
            1e-4,
            &format!("dbias of {case:?}"),
        );
    }
}

/// One pass or two, with and without gradients.
#[test]
fn relu_in_the_same_pass_changes_nothing() {
    for case in CASES.iter().chain(LARGE_CASES) {
        let inputs = Inputs::new(case, &Device::flex().autodiff());
        let options = Conv2dOptions {
            then: Activation::Relu,
            ..case.options()
        };
        let (x, weight, bias) = (&inputs.x, &inputs.weight, &inputs.bias);
        let one = conv2d(x.clone(), weight.clone(), Some(bias.clone()), options);
        let bias = Some(bias.clone().inner());
        let plain = conv2d(x.clone().inner(), weight.clone().inner(), bias, options);
        let two = relu(inputs.run(case));
        assert_eq!(bits(&one), bits(&two), "output of {case:?}");
        assert_eq!(bits(&plain), bits(&two), "plain output of {case:?}");
        let (one, two) = (inputs.gradients(one), inputs.gradients(two));
        assert_eq!(bits(&one.0), bits(&two.0), "dx of {case:?}");
        assert_eq!(bits(&one.1), bits(&two.1), "dweight of {case:?}");
        assert_eq!(bits(&one.2), bits(&two.2), "dbias of {case:?}");
    }
}

#[test]
fn is_deterministic() {
    for case in [
        case(4, [64, 64], [40, 56], 3),
        case(4, [64, 128], [40, 56], 3).stride(2),
        case(4, [64, 256], [40, 56], 1),
        case(4, [128, 128], [20, 28], 3).groups(32),
    ] {
        let inputs = Inputs::new(&case, &Device::flex().autodiff());
        let run = || {
            let y = inputs.run(&case);
            let (dx, dweight, dbias) = inputs.gradients(y.clone());
            (bits(&y), bits(&dx), bits(&dweight), bits(&dbias))
        };
        let first = run();
        assert!(
            (0..5).all(|_| run() == first),
            "{case:?} differs between runs"
        );
    }
}

#[test]
fn accepts_views() {
    let device = Device::flex();
    let mut random = Random::new(3);
    let x = random.tensor([2, 9, 7, 20], &device);
    let weight = random.tensor([3, 20, 3, 3], &device);
    let view = x.clone().swap_dims(1, 3).slice([0..2, 1..20, 0..7, 0..9]);
    let copy = Tensor::from_data(view.to_data(), &device);
    let weight = weight.slice([0..3, 1..20, 0..3, 0..3]);
    let options = Conv2dOptions::default();
    let of_view = conv2d(view, weight.clone(), None, options);
    assert_eq!(bits(&of_view), bits(&conv2d(copy, weight, None, options)));
}

#[test]
fn gradient_checkpointing_changes_nothing() {
    let case = case(2, [16, 16], [24, 24], 3);
    let run = |device: &Device| {
        let inputs = Inputs::new(&case, device);
        let squares = |x: Tensor<4>| x.clone() * x;
        let y = conv2d(
            squares(inputs.x.clone()),
            inputs.weight.clone(),
            None,
            case.options(),
        );
        let grads = (squares(y) * inputs.dy.clone()).sum().backward();
        bits(&inputs.x.grad(&grads).expect("gradient to x"))
    };
    let device = Device::flex().autodiff();
    assert_eq!(run(&device), run(&device.gradient_checkpointing()));
}

#[test]
fn constant_weights_get_no_gradient() {
    let device = Device::flex().autodiff();
    let mut random = Random::new(5);
    let x = random.tensor([1, 4, 6, 6], &device).require_grad();
    let weight = random.tensor([4, 4, 3, 3], &device);
    let y = conv2d(x.clone(), weight.clone(), None, Conv2dOptions::default());
    let grads = y.sum().backward();
    assert!(x.grad(&grads).is_some());
    assert!(weight.grad(&grads).is_none());
}

#[test]
fn double_precision_goes_to_burn() {
    let device = Device::flex();
    let mut random = Random::new(11);
    let case = case(1, [16, 16], [24, 24], 3);
    let x = random.tensor(case.x_dims(), &device).cast(DType::F64);
    let weight = random.tensor(case.weight_dims(), &device).cast(DType::F64);
    let (dy, bias) = (vec![0.0; 16 * 24 * 24], vec![0.0; 16]);
    let expected = reference(&case, &values(&x), &values(&weight), &bias, &dy);
    let y = conv2d(x, weight, None, case.options());
    assert_eq!(y.dtype(), DType::F64);
    assert_close(&y, &expected.y, 1e-13, "double precision");
}
