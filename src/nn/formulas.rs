//! Multiply-accumulates of the operators that libtorch dispatches, from the sizes of their arguments.
//!
//! An operator is counted where every path to it passes once: `aten::linear`, `aten::matmul` and `aten::conv1d` dispatch one of
//! these and have no formula of their own. Products inside a counted operator (a kernel of oneDNN, say) have none either.

/// What an operator was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument<'a> {
    /// A tensor of these sizes.
    Tensor(&'a [i64]),
    /// A number, or a list of numbers or flags.
    Numbers(&'a [i64]),
    /// Nothing, or something without a size.
    Other,
}

/// How an operator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// So many multiply-accumulates.
    Macs(u64),
    /// Arithmetic without a formula: element-wise, reductions, gathers, or a kernel that is opaque.
    Uncounted,
    /// It makes views, moves values, or dispatches what is counted.
    None,
}

/// The work of `aten::NAME` for its arguments.
pub fn work(name: &str, arguments: &[Argument<'_>]) -> Work {
    let name = name.strip_prefix("aten::").unwrap_or(name);
    if let Some(macs) = macs(name, arguments) {
        return Work::Macs(macs.max(0) as u64);
    }
    if MOVES.contains(&name) { Work::None } else { Work::Uncounted }
}

/// `None` for an operator without a formula, or with arguments that no version of it takes.
fn macs(name: &str, arguments: &[Argument<'_>]) -> Option<i64> {
    let tensor = |at: usize| match arguments.get(at) {
        Some(Argument::Tensor(size)) => Some(*size),
        _ => None,
    };
    // Rows of the left times all of the right.
    let product = |left: usize, right: usize| Some(count(tensor(left)?) * tensor(right)?.last()?);
    match name {
        "mm" | "bmm" | "_scaled_mm" | "_int_mm" => product(0, 1),
        "addmm" | "baddbmm" | "addbmm" | "_addmm_activation" => product(1, 2),
        "mv" | "dot" | "vdot" => Some(count(tensor(0)?)),
        "addmv" => Some(count(tensor(1)?)),
        "convolution" => forward(arguments),
        "convolution_backward" => backward(arguments),
        "mkldnn_rnn_layer" => recurrent(tensor(0)?, tensor(1)?, tensor(2)?),
        // Gradients of the inputs and of the weights.
        "mkldnn_rnn_layer_backward" => Some(2 * recurrent(tensor(0)?, tensor(1)?, tensor(2)?)?),
        _ => match name.strip_prefix("_scaled_dot_product_")? {
            "flash_attention" | "flash_attention_for_cpu" | "efficient_attention" | "cudnn_attention" | "fused_attention_overrideable" => {
                attention(tensor(0)?, tensor(1)?, tensor(2)?).map(|(scores, sums)| scores + sums)
            }
            "flash_attention_backward"
            | "flash_attention_for_cpu_backward"
            | "efficient_attention_backward"
            | "cudnn_attention_backward"
            | "fused_attention_overrideable_backward" => {
                // The scores are computed again; queries and keys have a gradient each, so have weights and values.
                attention(tensor(1)?, tensor(2)?, tensor(3)?).map(|(scores, sums)| 3 * scores + 2 * sums)
            }
            _ => None,
        },
    }
}

fn count(size: &[i64]) -> i64 {
    size.iter().product()
}

/// Cells of a convolution's output per input and channel. `settings` begin with its stride.
fn positions(settings: &[Argument<'_>], input: &[i64], weight: &[i64]) -> Option<i64> {
    let list = |at: usize| match settings.get(at) {
        Some(Argument::Numbers(values)) => Some(*values),
        _ => None,
    };
    let (stride, padding, dilation) = (list(0)?, list(1)?, list(2)?);
    let transposed = *list(3)?.first()? != 0;
    let of_axis = |list: &[i64], axis: usize| list.get(axis).or(list.last()).copied();
    let (input, weight) = (input.get(2..)?, weight.get(2..)?);
    if transposed {
        // Every cell read meets the whole kernel.
        return Some(count(input));
    }
    let mut positions = 1;
    for (axis, (&cells, &kernel)) in input.iter().zip(weight).enumerate() {
        let reach = of_axis(dilation, axis)? * (kernel - 1) + 1;
        positions *= (cells + 2 * of_axis(padding, axis)? - reach) / of_axis(stride, axis)?.max(1) + 1;
    }
    Some(positions)
}

/// input, weight, bias, stride, padding, dilation, transposed, …
fn forward(arguments: &[Argument<'_>]) -> Option<i64> {
    let [Argument::Tensor(input), Argument::Tensor(weight), ..] = arguments else { return None };
    Some(input.first()? * positions(arguments.get(3..)?, input, weight)? * count(weight))
}

/// gradient, input, weight, sizes of the bias, stride, padding, dilation, transposed, output padding, groups, what is wanted
/// of (input, weight, bias).
fn backward(arguments: &[Argument<'_>]) -> Option<i64> {
    let [Argument::Tensor(_), Argument::Tensor(input), Argument::Tensor(weight), ..] = arguments else { return None };
    let Some(Argument::Numbers([of_input, of_weight, ..])) = arguments.get(10) else { return None };
    let once = input.first()? * positions(arguments.get(4..)?, input, weight)? * count(weight);
    Some(once * (i64::from(*of_input != 0) + i64::from(*of_weight != 0)))
}

/// `[T, B, I]` and the two weights of a layer.
fn recurrent(input: &[i64], of_input: &[i64], of_state: &[i64]) -> Option<i64> {
    let [time, batch, _] = input else { return None };
    Some(time * batch * (count(of_input) + count(of_state)))
}

/// Scores and weighted sums of `[…, Q, D]`, `[…, K, D]`, `[…, K, V]`.
fn attention(query: &[i64], key: &[i64], value: &[i64]) -> Option<(i64, i64)> {
    let [.., keys, _] = key else { return None };
    let scores = count(query) * keys;
    Some((scores, scores / query.last()?.max(&1) * value.last()?))
}

/// Operators that make views, move values, read single ones, or only dispatch others.
const MOVES: &[&str] = &[
    "_conj",
    "_convolution",
    "_local_scalar_dense",
    "_nnpack_available",
    "_reshape_alias",
    "_slow_conv2d_backward",
    "_slow_conv2d_forward",
    "_to_copy",
    "_unsafe_view",
    "alias",
    "arange",
    "as_strided",
    "as_strided_",
    "broadcast_to",
    "cat",
    "chunk",
    "clone",
    "constant_pad_nd",
    "contiguous",
    "conv1d",
    "conv2d",
    "copy_",
    "cross_entropy_loss",
    "cudnn_convolution",
    "cudnn_is_acceptable",
    "detach",
    "detach_",
    "dropout",
    "empty",
    "empty_like",
    "empty_strided",
    "expand",
    "expand_as",
    "fill_",
    "flatten",
    "flip",
    "full",
    "full_like",
    "group_norm",
    "index_put_",
    "is_floating_point",
    "item",
    "layer_norm",
    "lift",
    "lift_fresh",
    "lift_fresh_copy",
    "linear",
    "linspace",
    "lstm",
    "matmul",
    "max_pool1d",
    "max_pool1d_with_indices",
    "mkldnn_convolution",
    "movedim",
    "narrow",
    "new_empty",
    "new_empty_strided",
    "new_full",
    "new_ones",
    "new_zeros",
    "norm",
    "ones",
    "ones_like",
    "pad",
    "permute",
    "relu",
    "relu_",
    "repeat",
    "requires_grad_",
    "reshape",
    "reshape_as",
    "resize_",
    "resize_as_",
    "resolve_conj",
    "resolve_neg",
    "result_type",
    "scalar_tensor",
    "scaled_dot_product_attention",
    "select",
    "select_backward",
    "slice",
    "slice_backward",
    "slow_conv2d_forward",
    "softmax",
    "split",
    "split_with_sizes",
    "square",
    "squeeze",
    "squeeze_",
    "stack",
    "t",
    "t_",
    "thnn_conv2d",
    "to",
    "transpose",
    "transpose_",
    "type_as",
    "unbind",
    "unflatten",
    "unfold",
    "unfold_backward",
    "unsafe_chunk",
    "unsafe_split",
    "unsqueeze",
    "unsqueeze_",
    "view",
    "view_as",
    "zero_",
    "zeros",
    "zeros_like",
];

#[cfg(test)]
mod tests {
    use super::Argument::{Numbers, Other, Tensor};
    use super::*;

    #[test]
    fn products_multiply_their_sizes() {
        assert_eq!(work("aten::mm", &[Tensor(&[3, 5]), Tensor(&[5, 7])]), Work::Macs(105));
        assert_eq!(work("aten::addmm", &[Tensor(&[7]), Tensor(&[3, 5]), Tensor(&[5, 7])]), Work::Macs(105));
        assert_eq!(work("aten::bmm", &[Tensor(&[2, 3, 5]), Tensor(&[2, 5, 7])]), Work::Macs(210));
        assert_eq!(work("aten::linear", &[Tensor(&[3, 5]), Tensor(&[7, 5])]), Work::None);
        assert_eq!(work("aten::embedding_bag", &[Tensor(&[3, 5])]), Work::Uncounted);
        assert_eq!(work("aten::mm", &[Other]), Work::Uncounted, "a version of it that is not known");
    }

    #[test]
    fn convolutions_know_strides_groups_and_what_is_wanted_of_the_backward_pass() {
        // 8 inputs of 6 channels and 20 cells, 9 outputs in 3 groups, kernel 5, stride 2: 10 cells.
        let (x, w, y): (&[i64], &[i64], &[i64]) = (&[8, 6, 20], &[9, 2, 5], &[8, 9, 10]);
        let settings = [Numbers(&[2]), Numbers(&[2]), Numbers(&[1]), Numbers(&[0]), Numbers(&[0]), Numbers(&[3])];
        let forward: Vec<Argument> = [Tensor(x), Tensor(w), Other].into_iter().chain(settings).collect();
        assert_eq!(work("aten::convolution", &forward), Work::Macs(8 * 10 * 90));
        for (mask, times) in [([1, 1, 1], 2), ([0, 1, 1], 1), ([0, 0, 1], 0)] {
            let mut backward: Vec<Argument> = [Tensor(y), Tensor(x), Tensor(w), Numbers(&[9])].into_iter().chain(settings).collect();
            backward.push(Numbers(&mask));
            assert_eq!(work("aten::convolution_backward", &backward), Work::Macs(times * 8 * 10 * 90));
        }
    }

    #[test]
    fn attention_is_two_products_forward_and_five_backward() {
        let (q, k, v): (&[i64], &[i64], &[i64]) = (&[2, 4, 10, 8], &[2, 4, 12, 8], &[2, 4, 12, 8]);
        let one = 2 * 4 * 10 * 12 * 8;
        let forward = [Tensor(q), Tensor(k), Tensor(v)];
        assert_eq!(work("aten::_scaled_dot_product_flash_attention_for_cpu", &forward), Work::Macs(2 * one));
        let backward = [Tensor(q), Tensor(q), Tensor(k), Tensor(v)];
        assert_eq!(work("aten::_scaled_dot_product_flash_attention_for_cpu_backward", &backward), Work::Macs(5 * one));
    }
}
