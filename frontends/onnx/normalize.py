"""One form for every ONNX graph: static shapes, constants as initializers, nothing that inference does not need, named layers.

The steps are the list in `normalize`; each works in place on an onnxscript IR model.
"""
from __future__ import annotations

import logging

import onnx
from onnx_ir.passes import common as passes
from onnxscript import ir
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules.common import fuse_pad_into_conv_rule

from ...support.errors import TenfoldError
from ..reading import Reading
from ..step import step
from .calls import inline
from .constant_nodes import OLDEST_OPSET, fold_constant_nodes, in_training, opset_of, warn_of_constant_nodes
from .data_dependent import refuse_data_dependent
from .expand import drop_unused_outputs, expand
from .explicit_pads import explicit_pads
from .fold_affine import fold_affine
from .initializers import ONNX, is_constant
from .layer_names import name_layers
from .limits import FoldBudget, check_chunks, check_inputs, check_memory
from .low_precision import has_short, in_float32
from .nodes import where_is
from .propagation import stays_small
from .quantized import drop_detours, refuse_own_operators
from .shape_mismatch import check_fit
from .shapes import check_batch, check_static, fix_inputs
from .sparse import with_dense_weights

logger = logging.getLogger(__name__)

# Before `OLDEST_OPSET` several operators mean something else (Softmax flattens, Clip and Pad take attributes, Upsample exists).
UPGRADED_OPSET = 17
# The first IR version in which an initializer need not be an input of the graph is 4; 8 is what opset 17 was released with.
OLDEST_IR_VERSION = 8


def normalize(proto: onnx.ModelProto, reading: Reading, name: str) -> onnx.ModelProto:
    """Rewrite a checked ONNX model into the form that the rest of Tenfold expects.

    Parameters
    ----------
    proto : onnx.ModelProto
        Not modified.
    reading : Reading
        Of which sizes, batch and outputs count here.
    name : str
        What errors call the model.

    Returns
    -------
    onnx.ModelProto
        With opset >= 13 where the upgrade is possible; graph inputs, outputs and model metadata keep their names.

    Raises
    ------
    TenfoldError
        A dynamic size that is not fixed, a size that depends on the data, shapes that do not fit, or a batch norm in training mode.
    """
    with step(name, "read the graph"):
        model = ir.serde.deserialize_model(inline(with_dense_weights(proto, name), name))
    model.ir_version = max(model.ir_version or 0, OLDEST_IR_VERSION)
    with step(name, "write out its functions"):
        passes.InlinePass()(model)
    passes.RemoveInitializersFromInputsPass()(model)
    hint = fix_inputs(model, reading, name)
    check_inputs(model, name)
    name_layers(model)  # before any pass gives names of its own
    budget = FoldBudget(name)
    _fold_training(model, budget, name)
    model = _upgrade(model)
    if has_short(model):
        infer_shapes(model)
        in_float32(model, name)
    refuse_own_operators(model, name)
    expand(model)
    fold_shapes(model, budget, name)
    check_fit(model, name, hint)
    _drop_dropout(model, name)
    _drop_identities(model)
    drop_detours(model)
    rewrite(model, pattern_rewrite_rules=[fuse_pad_into_conv_rule])
    fold_affine(model)
    passes.RemoveUnusedNodesPass()(model)
    drop_unused_outputs(model)
    passes.RemoveUnusedFunctionsPass()(model)
    passes.RemoveUnusedOpsetsPass()(model)
    name_layers(model)
    passes.NameFixPass()(model)
    _forget_the_exporter(model)
    infer_shapes(model)
    refuse_data_dependent(model, name)
    check_static(model.graph.outputs, name)
    check_batch(model.graph, reading.batch, name)
    warn_of_constant_nodes(model, name)
    with step(name, "write the normalised graph"):
        normalised = ir.serde.serialize_model(model)
    check_memory(normalised, name)
    return normalised


def infer_shapes(model: ir.Model) -> None:
    """Infer afresh what shapes can be inferred; values of small integer tensors are followed through the graph."""
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None
    for follow_values in (False, True):
        if not follow_values or stays_small(model):
            passes.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=follow_values)(model)


def fold_shapes(model: ir.Model, budget: FoldBudget, name: str) -> None:
    """Fold everything that is constant into initializers, the graph's own shape computations too.

    Weights that the file makes with ConstantOfShape, Transpose or Cast nodes become plain initializers too, whatever their size: a
    weight that stays behind such a node would not be seen as a weight.

    Parameters
    ----------
    model : ir.Model
        Changed in place.
    budget : FoldBudget
        What may be spent on constants.
    name : str
        How messages name the model.

    Raises
    ------
    TenfoldError
        The constants are larger than a network may be, or than memory allows.
    """
    changed, rounds = True, 0
    while changed or rounds < 2:  # a folded Reshape or Resize may give the shapes that the next computation needs
        infer_shapes(model)
        with step(name, "work out the pads of its convolutions and pools"):
            while explicit_pads(model):
                infer_shapes(model)
        check_chunks(model, name)
        try:
            sizes = {"input_size_limit": 2**62, "output_size_limit": 2**62}
            fold_constants(model, onnx_shape_inference=True, should_fold=lambda node: _reliable(node) and budget(node), **sizes)
        except TenfoldError:
            raise
        except MemoryError:
            raise TenfoldError(f"{name}: the constants that the network computes don't fit into memory") from None
        except Exception as error:  # the folder gives up on operators it knows too little of; the graph itself is still sound
            logger.info("some constants of the graph were not folded: %s", error)
        changed = fold_constant_nodes(model, budget)
        passes.RemoveUnusedNodesPass()(model)
        rounds += 1
    passes.LiftSubgraphInitializersToMainGraphPass()(model)
    passes.OutputFixPass()(model)
    infer_shapes(model)


def _reliable(node: ir.Node) -> bool:
    # onnx's reference takes every BatchNormalization of opset 9 for one in training mode.
    return node.op_type != "BatchNormalization"


def _fold_training(model: ir.Model, budget: FoldBudget, name: str) -> None:
    """Fold batch norms that standardise a weight, and refuse those that would normalise with the statistics of the batch.

    It is done before the upgrade, while the number of outputs still tells the mode.
    """
    if _training_norms(model):
        infer_shapes(model)
        fold_constant_nodes(model, budget)
    for node in _training_norms(model):
        where = where_is(ir.serde.serialize_node(node))
        raise TenfoldError(f"{name}: {where} is a batch norm in training mode: export the network for inference (model.eval())")


def _training_norms(model: ir.Model) -> list[ir.Node]:
    norms = [node for node in model.graph.all_nodes() if node.op_type == "BatchNormalization" and node.domain in ONNX]
    return [node for node in norms if in_training(node, opset_of(model))]


def _upgrade(model: ir.Model) -> ir.Model:
    """Convert a model to an opset whose operators mean what they mean today. It stays unchanged if onnx can't convert it."""
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", UPGRADED_OPSET))
    if opset >= OLDEST_OPSET:
        return model
    try:
        infer_shapes(model)
        upgraded = ir.serde.deserialize_model(onnx.version_converter.convert_version(ir.serde.serialize_model(model), UPGRADED_OPSET))
    except Exception as error:
        logger.info("the model stays at opset %d: %s", opset, error)
        return model
    for node in upgraded.graph.all_nodes():
        if node.op_type == "Resize" and opset < 11:  # the converter leaves these to their defaults, which changed with opset 11
            node.attributes["coordinate_transformation_mode"] = ir.AttrString("coordinate_transformation_mode", "asymmetric")
            node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "floor")
    return upgraded


def _drop_dropout(model: ir.Model, name: str) -> None:
    for node in model.graph.all_nodes():
        if node.op_type != "Dropout" or node.domain not in ONNX:
            continue
        if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
            raise TenfoldError(f"{name}: node {node.name!r} is a Dropout whose mask is used: export the network in eval mode")
        if _drops(node):
            where = where_is(ir.serde.serialize_node(node))
            raise TenfoldError(f"{name}: {where} is in training mode: export the network for inference (model.eval())")
        identity = ir.node("Identity", [node.inputs[0]], name=node.name)
        _replace(node, identity)


def _drops(node: ir.Node) -> bool:
    """Whether a Dropout drops anything: from opset 12 on its third input says so."""
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    if mode is None or (is_constant(mode) and not mode.const_value.numpy().any()):
        return False
    ratio = node.inputs[1]
    return not (is_constant(ratio) and not ratio.const_value.numpy().any())


def _drop_identities(model: ir.Model) -> None:
    """Remove Identity nodes, but those of which both ends are outputs: two outputs are two values, each with its name."""
    names = [value.name for value in model.graph.outputs]
    passes.IdentityEliminationPass()(model)
    passes.OutputFixPass()(model)
    renamed = [(value, name) for value, name in zip(model.graph.outputs, names, strict=True) if value.name != name]
    for value, _ in renamed:
        value.name = None  # another one's, maybe
    for value, name in renamed:
        value.name = name


def _replace(node: ir.Node, new: ir.Node) -> None:
    """Put `new` in the place of `node`; its output takes over name, type and uses of the old one's first output."""
    old_value, new_value = node.outputs[0], new.outputs[0]
    new_value.shape, new_value.type = old_value.shape, old_value.type
    new_value.name, old_value.name = old_value.name, None
    node.graph.insert_before(node, new)
    ir.convenience.replace_all_uses_with(old_value, new_value, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)


def _forget_the_exporter(model: ir.Model) -> None:
    """Drop stack traces and doc strings of nodes and values: they hold paths of the machine that made the export."""
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.doc_string = None
        node.metadata_props.clear()
        for value in node.outputs:
            value.doc_string = None
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
