//! x
use burn::tensor::*;
use burn::tensor::activation::*;
use fcos_loss::*;
use std::time::Instant;
fn flip(logits: Tensor<3>, labels: Tensor<2, Int>) -> Tensor<1> {
    let c = logits.dims()[2];
    let hot = labels.clone().unsqueeze_dim::<3>(2).equal(Tensor::<1, Int>::arange(0..c as i64, (&labels.device(), labels.dtype())).unsqueeze_dims::<3>(&[0, 1]));
    let s = logits.clone().mask_where(hot.clone(), logits.neg());
    let q = sigmoid(s.clone());
    let l = q.clone() * q * log_sigmoid(s.neg());
    let pos = l.clone().mask_fill(hot.bool_not(), 0.0).sum();
    (l.sum() * 0.75 - pos * 0.5).neg()
}
fn naive(x: Tensor<3>, labels: Tensor<2, Int>) -> Tensor<1> {
    let c = x.dims()[2];
    let t = labels.clone().unsqueeze_dim::<3>(2).equal(Tensor::<1, Int>::arange(0..c as i64, (&labels.device(), labels.dtype())).unsqueeze_dims::<3>(&[0, 1])).float();
    let p = sigmoid(x.clone());
    let ce: Tensor<3> = (t.clone() * log_sigmoid(x.clone()) + t.clone().neg().add_scalar(1.0) * log_sigmoid(x.neg())).neg();
    let pt: Tensor<3> = p.clone() * t.clone() + (1.0 - p) * (1.0 - t.clone());
    let a: Tensor<3> = t.clone() * 0.25 + (1.0 - t) * 0.75;
    (a * pt.neg().add_scalar(1.0).powf_scalar(2.0) * ce).sum()
}
/// Value and gradient at once, on plain tensors.
fn analytic(x: Tensor<3>, labels: Tensor<2, Int>) -> Tensor<1> {
    let inner = x.clone().inner();
    let c = x.dims()[2];
    let labels = labels.inner();
    let hot = labels.clone().unsqueeze_dim::<3>(2).equal(Tensor::<1, Int>::arange(0..c as i64, (&labels.device(), labels.dtype())).unsqueeze_dims::<3>(&[0, 1]));
    let s = inner.clone().mask_where(hot.clone(), inner.neg());
    let q = sigmoid(s.clone());
    let sp = log_sigmoid(s.neg()).neg();
    let w = q.clone() * q.clone() * 0.75;
    let w = w.clone().mask_where(hot.clone(), w * (1.0/3.0));
    let value = (w.clone() * sp.clone()).sum();
    let g: Tensor<3> = w * ((1.0 - q.clone()) * sp * 2.0 + q);
    let g = g.clone().mask_where(hot, g.neg());
    let g = Tensor::from_inner(g);
    let lin = (x * g).sum();
    Tensor::from_inner(value) + lin.clone() - lin.detach()
}
#[test]
fn speed() {
    let dev = Device::flex().autodiff();
    let (b, n, c) = (2, 22_000, 80);
    let x = Tensor::<3>::random([b, n, c], Distribution::Normal(-4.0, 1.0), &dev);
    let l: Vec<i64> = (0..b * n).map(|i| if i % 100 == 0 { (i / 100 % 80) as i64 } else { -1 }).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(l, [b, n]), &dev);
    let fs: [(&str, fn(Tensor<3>, Tensor<2, Int>) -> Tensor<1>); 4] = [("lib", |x, l| sigmoid_focal_loss(x, l, 0.25, 2.0)), ("flip", flip), ("naive", naive), ("analytic", analytic)];
    for (name, f) in fs {
        let mut best = (f64::MAX, f64::MAX);
        let mut v = 0.0;
        for _ in 0..6 {
            let x = x.clone().detach().require_grad();
            let t = Instant::now();
            let loss = f(x.clone(), labels.clone());
            let a = t.elapsed().as_secs_f64();
            let t = Instant::now();
            let g = loss.backward();
            let g = x.grad(&g).unwrap();
            let bk = t.elapsed().as_secs_f64();
            best = (best.0.min(a), best.1.min(bk));
            v = loss.into_scalar::<f32>() as f64 + g.abs().sum().into_scalar::<f32>() as f64;
        }
        println!("{name}: fwd {:.1} ms bwd {:.1} ms ({v})", best.0 * 1e3, best.1 * 1e3);
    }
    let box4 = |s: f64| Tensor::<3>::random([b, n, 4], Distribution::Uniform(0.1, s), &dev);
    for kind in [IouLoss::Iou, IouLoss::Giou, IouLoss::Ciou] {
        let mut best = f64::MAX;
        for _ in 0..6 {
            let p = box4(9.0).require_grad();
            let t = Instant::now();
            let g = iou_loss(p.clone(), box4(9.0), kind, IouSmoothing::Epsilon).sum().backward();
            let _ = p.grad(&g).unwrap();
            best = best.min(t.elapsed().as_secs_f64());
        }
        println!("{kind:?} fwd+bwd {:.1} ms", best * 1e3);
    }
}
