"""Which operators TensorRT's ONNX parser documents as supported, of which element types.

The facts are those of ``docs/operators.md`` of the repository onnx/onnx-tensorrt, as of ``SOURCE``; the form is ours.
What the document restricts beyond the element types is in ``restrictions.py``. To bring the table up to date, compare
it with a newer version of that document and change ``SOURCE`` with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Where the facts come from; the date is that of the release whose version the document carries."""

    version: str
    document: str
    commit: str
    date: str


SOURCE = Source(
    version="TensorRT 11.0",
    document="https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md",
    commit="2f3fa349247d9ff52d7662cb995c82278df31a86",
    date="2026-06-02",
)
OPSETS = range(9, 24 + 1)  #: versions of the default domain that are read

NUMBERS = "float float16 bfloat16 int32 int64"
ALL = "float float16 bfloat16 int32 int64 bool"

#: names of element types as in ``TensorProto.DataType``, lower case -> the operators that are documented for these
_BY_TYPES = {
    "bool": "And Not Or Xor",
    "float": "STFT",
    "float float16": """BlackmanWindow DeformConv GridSample HammingWindow HannWindow Mish NonMaxSuppression NonZero
        RoiAlign""",
    "float float16 bfloat16": """Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv
        ConvTranspose Cos Cosh CumSum Dropout Einsum Elu Erf Exp Floor GRU Gemm GlobalAveragePool GlobalLpPool
        GlobalMaxPool GroupNormalization HardSigmoid HardSwish Hardmax ImageScaler InstanceNormalization IsInf LRN LSTM
        LayerNormalization LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul MaxPool MeanVarianceNormalization
        PRelu ParametricSoftplus QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform
        RandomUniformLike Reciprocal Resize RotaryEmbedding Round ScaledTanh Scan Selu Sigmoid Sin Sinh Softmax
        Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Upsample""",
    "float float16 bfloat16 int32": "TensorScatter",
    NUMBERS: """Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less LessOrEqual Max Min Mod
        Mul Neg Pad Pow Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
        ReduceSum ReduceSumSquare Relu Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK""",
    f"{NUMBERS} int8": "Gelu",
    f"{NUMBERS} float8e4m3fn": "Mean",
    ALL: """Concat Expand EyeLike Flatten Gather GatherElements GatherND Identity If Loop OneHot Reshape
        ReverseSequence Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where""",
    f"{ALL} uint8": "Cast CastLike",
    f"{ALL} float8e4m3fn float4e2m1 int4": "Constant ConstantOfShape",
    "int8 float8e4m3fn float4e2m1 int4": "DequantizeLinear",
    "float float16 bfloat16 int8 float8e4m3fn": "Attention",
}

#: element types that each supported operator is documented for
TYPES: dict[str, frozenset[str]] = {
    name: frozenset(types.split()) for types, names in _BY_TYPES.items() for name in names.split()
}

#: named in the document as not supported
UNSUPPORTED = frozenset(
    """AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im Compress
    ConcatFromSequence ConvInteger DFT Det DynamicQuantizeLinear ImageDecoder MatMulInteger MaxRoiPool MaxUnpool
    MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement QLinearConv
    QLinearMatMul RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength
    SequenceMap SoftmaxCrossEntropyLoss SplitToSequence StringConcat StringNormalizer StringSplit TfIdfVectorizer
    Unique""".split()
)

QUANTISED = frozenset("int8 float8e4m3fn float4e2m1 int4".split())  #: element types of quantised values

#: operators whose documented element types are those of another operand than the first, by its position
OPERAND = {"Where": 1, "OneHot": 2}

#: operators whose documented element types are those of the result
MADE = frozenset(
    """Constant ConstantOfShape EyeLike RandomNormal RandomNormalLike RandomUniform RandomUniformLike BlackmanWindow
    HammingWindow HannWindow If Loop Scan""".split()
)
