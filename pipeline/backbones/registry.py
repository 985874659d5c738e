"""The table of backbones: plain numbers, known without loading TensorFlow.

To add a backbone, add a line (`families.py` has what those of one origin share). Its graph comes
from `builder`; everything else about it is here.
docs/backbones.md shows the table to people.
"""

import difflib
import re

from pipeline.backbones.backbone import Backbone
from pipeline.backbones.families import (
    BGR_CENTRED,
    EFFICIENTNET_TOP,
    RGB_MINUS_1_TO_1,
    RGB_STANDARDISED,
    RGB_UNCHANGED,
    VGG_TOP,
    efficientnet_lite,
    keras_application,
    name_convnext_top,
    torchvision,
)
from pipeline.errors import BackboneError


def list_backbones() -> list[Backbone]:
    """All that can be used without more being said, in the order of the table."""
    return list(BACKBONES.values())


def get_backbone(name: str) -> Backbone:
    """Finds a backbone by its name or an alias; case, `-` and `_` do not count.

    Raises:
        BackboneError: if there is none, with the names that come close.
    """
    names = {
        _plain(known): backbone
        for backbone in BACKBONES.values()
        for known in (*backbone.aliases, backbone.name)
    }
    if found := names.get(_plain(name)):
        return found
    close = difflib.get_close_matches(_plain(name), names, n=4, cutoff=0.5)
    close_names = list(dict.fromkeys(names[match].name for match in close))
    raise BackboneError(
        f"There is no backbone {name!r}. Expected "
        f"{'for example ' + ', '.join(close_names) if close_names else 'a name from the list'}. "
        f"Received: {name}\n`frostline.list_backbones()` lists them all."
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_. ]", "", name.lower())


# fmt: off
# Keras's lines: function, pixels, features, parameters, multiply-adds, top-1, preprocessing; layer
# of the features; path of the weights; their hash; the hash of the file with the classifier.
_ALL = (
    efficientnet_lite(0, 224, 1280, 3_413_024, 383_907_552, 0.751),
    efficientnet_lite(1, 240, 1280, 4_189_344, 598_905_232, 0.767, extra="lite"),
    efficientnet_lite(2, 260, 1280, 4_869_168, 858_456_272, 0.776, extra="lite"),
    keras_application(
        "EfficientNetB0", 224, 1280, 4_049_571, 384_534_752, 0.771, RGB_UNCHANGED,
        "top_activation",
        "keras-applications/efficientnetb0_notop.h5",
        "50bc09e76180e00e4465e1a485ddc09d",
        "902e53a9f72be733fc0bcb005b3ebbac", aliases=("efficientnet",), top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetB1", 240, 1280, 6_575_239, 685_522_832, 0.791, RGB_UNCHANGED,
        "top_activation",
        "keras-applications/efficientnetb1_notop.h5",
        "74c4e6b3e1f6a1eea24c589628592432",
        "1d254153d4ab51201f1646940f018540", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetB2", 260, 1408, 7_768_569, 992_153_872, 0.801, RGB_UNCHANGED,
        "top_activation",
        "keras-applications/efficientnetb2_notop.h5",
        "111f8e2ac8aa800a7a99e3239f7bfb39",
        "b15cce36ff4dcbd00b6dd88e7857a6ad", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetB3", 300, 1536, 10_783_535, 1_825_605_392, 0.816, RGB_UNCHANGED,
        "top_activation",
        "keras-applications/efficientnetb3_notop.h5",
        "af6d107764bb5b1abb91932881670226",
        "ffd1fdc53d0ce67064dc6a9c7960ede0", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetB4", 380, 1792, 17_673_823, 4_391_979_024, 0.829, RGB_UNCHANGED,
        "top_activation",
        "keras-applications/efficientnetb4_notop.h5",
        "ebc24e6d6c33eaebbd558eafbeedf1ba",
        "18c95ad55216b8f92d7e70b3a046e2fc", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetB5", 456, 2048, 28_513_527, 10_264_336_752, 0.836, RGB_UNCHANGED,
        "top_activation",
        "keras-applications/efficientnetb5_notop.h5",
        "38879255a25d3c92d5e44e04ae6cec6f",
        "ace28f2a6363774853a83a0b21b9421a", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetB6", 528, 2304, 40_960_143, 19_065_289_536, 0.84, RGB_UNCHANGED,
        "top_activation",
        "keras-applications/efficientnetb6_notop.h5",
        "9ecce42647a20130c1f39a5d4cb75743",
        "165f6e37dce68623721b423839de8be5", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetB7", 600, 2560, 64_097_687, 37_743_324_192, 0.843, RGB_UNCHANGED,
        "top_activation",
        "keras-applications/efficientnetb7_notop.h5",
        "cbcfe4450ddf6f3ad90b1b398090fe4a",
        "8c03f828fec3ef71311cd463b6759d99", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetV2B0", 224, 1280, 5_919_312, 716_806_176, 0.787, RGB_UNCHANGED,
        "top_activation",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b0_notop.h5",
        "893217f2bb855e2983157299931e43ff",
        "21ecbf6da12460d5c40bb2f29ceb2188",
        aliases=("efficientnetv2",), top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetV2B1", 240, 1280, 6_931_124, 1_195_539_360, 0.798, RGB_UNCHANGED,
        "top_activation",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b1_notop.h5",
        "0e80663031ca32d657f9caa404b6ec37",
        "069f0534ff22adf035c89e2d9547a9dc", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetV2B2", 260, 1408, 8_769_374, 1_696_134_832, 0.805, RGB_UNCHANGED,
        "top_activation",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b2_notop.h5",
        "1dfe2e7a5d45b6632553a8961ea609eb",
        "424e49f28180edbde1e94797771950a7", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetV2B3", 300, 1536, 12_930_622, 3_009_922_816, 0.82, RGB_UNCHANGED,
        "top_activation",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-b3_notop.h5",
        "f6abf7b5849ac99a89b50dd3fd532856",
        "1f1fc43bd98a6e4fd8fdfd551e02c7a0", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetV2S", 384, 1280, 20_331_360, 8_364_337_152, 0.839, RGB_UNCHANGED,
        "top_activation",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-s_notop.h5",
        "af0682fb74e8c54910f2d4393339c070",
        "e1d88a8495beba45748fedd0cecbe016", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetV2M", 480, 1280, 53_150_388, 24_581_180_384, 0.853, RGB_UNCHANGED,
        "top_activation",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-m_notop.h5",
        "1b8dc055df72dde80d614482840fe342",
        "a3bf6aa3276309f4fc6a34aa114c95cd", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "EfficientNetV2L", 480, 1280, 117_746_848, 56_078_419_008, 0.857, RGB_UNCHANGED,
        "top_activation",
        "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-l_notop.h5",
        "b0b66b5c863aef5b46e8608fe1711615",
        "27e6d408b53c7ebc868fefa357689935", top_layers=EFFICIENTNET_TOP,
    ),
    keras_application(
        "ResNet50", 224, 2048, 23_587_712, 3_855_925_248, 0.749, BGR_CENTRED,
        "conv5_block3_out",
        "tensorflow/keras-applications/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
        "2cb95161c43110f7111970584f804107", aliases=("resnet",),
    ),
    keras_application(
        "ResNet50V2", 224, 2048, 23_564_800, 3_480_207_360, 0.76, RGB_MINUS_1_TO_1,
        "post_relu",
        "tensorflow/keras-applications/resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "fac2f116257151a9d068a22e544a4917",
        "3ef43a0b657b3be2300d5770ece849e0", aliases=("resnetv2",),
    ),
    keras_application(
        "ResNet101", 224, 2048, 42_658_176, 7_568_146_432, 0.764, BGR_CENTRED,
        "conv5_block3_out",
        "tensorflow/keras-applications/resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "88cf7a10940856eca736dc7b7e228a21",
        "f1aeb4b969a6efcfb50fad2f0c20cfc5",
    ),
    keras_application(
        "ResNet101V2", 224, 2048, 42_626_560, 7_192_428_544, 0.772, RGB_MINUS_1_TO_1,
        "post_relu",
        "tensorflow/keras-applications/resnet/resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "c0ed64b8031c3730f411d2eb4eea35b5",
        "6343647c601c52e1368623803854d971",
    ),
    keras_application(
        "ResNet152", 224, 2048, 58_370_944, 11_280_367_616, 0.766, BGR_CENTRED,
        "conv5_block3_out",
        "tensorflow/keras-applications/resnet/resnet152_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "ee4c566cf9a93f14d82f913c2dc6dd0c",
        "100835be76be38e30d865e96f2aaae62",
    ),
    keras_application(
        "ResNet152V2", 224, 2048, 58_331_648, 10_904_649_728, 0.78, RGB_MINUS_1_TO_1,
        "post_relu",
        "tensorflow/keras-applications/resnet/resnet152v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "ed17cf2e0169df9d443503ef94b23b33",
        "a49b44d1979771252814e80f8ec446f9",
    ),
    keras_application(
        "VGG16", 224, 512, 14_714_688, 15_346_630_656, 0.713, BGR_CENTRED,
        "block5_pool",
        "tensorflow/keras-applications/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
        "64373286793e3c8b2b4e3219cbf3544b", aliases=("vgg",), top_layers=VGG_TOP,
    ),
    keras_application(
        "VGG19", 224, 512, 20_024_384, 19_508_428_800, 0.713, BGR_CENTRED,
        "block5_pool",
        "tensorflow/keras-applications/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "253f8cb515780f3b799900260a226db6",
        "cbe5617147190e668d6c5d5026f83318", top_layers=VGG_TOP,
    ),
    keras_application(
        "DenseNet121", 224, 1024, 7_037_504, 2_833_137_664, 0.75, RGB_STANDARDISED,
        "relu",
        "tensorflow/keras-applications/densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "30ee3e1110167f948a6b9946edeeb738",
        "9d60b8095a5708f2dcce2bca79d332c7", aliases=("densenet",),
    ),
    keras_application(
        "DenseNet169", 224, 1664, 12_642_880, 3_358_179_328, 0.762, RGB_STANDARDISED,
        "relu",
        "tensorflow/keras-applications/densenet/densenet169_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "b8c4d4c20dd625c148057b9ff1c1176b",
        "d699b8f76981ab1b30698df4c175e90b",
    ),
    keras_application(
        "DenseNet201", 224, 1920, 18_321_984, 4_289_445_888, 0.773, RGB_STANDARDISED,
        "relu",
        "tensorflow/keras-applications/densenet/densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "c13680b51ded0fb44dff2d8f86ac8bb1",
        "1ceb130c1ea1b78c3bf6114dbdfd8807",
    ),
    keras_application(
        "MobileNet", 224, 1024, 3_228_864, 567_716_352, 0.704, RGB_MINUS_1_TO_1,
        "conv_pw_13_relu",
        "tensorflow/keras-applications/mobilenet/mobilenet_1_0_224_tf_no_top.h5",
        None,
        None, top_layers=("conv_preds", "predictions"),
    ),
    keras_application(
        "MobileNetV2", 224, 1280, 2_257_984, 299_494_272, 0.713, RGB_MINUS_1_TO_1,
        "out_relu",
        "tensorflow/keras-applications/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        None,
        None, top_layers=("predictions",),
    ),
    keras_application(
        "MobileNetV3Small", 224, 576, 939_120, 54_896_576, 0.681, RGB_UNCHANGED,
        "activation_17",
        "tensorflow/keras-applications/mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "d3e8ec802a04aa4fc771ee12a9a9b836",
        "8768d4c2e7dee89b9d02b2d03d65d862", top_layers=("conv_2", "logits", "predictions"),
    ),
    keras_application(
        "MobileNetV3Large", 224, 960, 2_996_352, 214_080_960, 0.756, RGB_UNCHANGED,
        "activation_19",
        "tensorflow/keras-applications/mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
        "07fb09a5933dd0c8eaafa16978110389",
        "59e551e166be033d707958cf9e29a6a7",
        aliases=("mobilenetv3",), top_layers=("conv_2", "logits", "predictions"),
    ),
    keras_application(
        "ConvNeXtTiny", 224, 768, 27_820_128, 4_454_763_264, 0.813, RGB_UNCHANGED,
        "layer_normalization",
        "tensorflow/keras-applications/convnext/convnext_tiny_notop.h5",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
        aliases=("convnext",),
        top_layers=name_convnext_top("tiny"),
    ),
    keras_application(
        "ConvNeXtSmall", 224, 768, 49_454_688, 8_682_944_256, 0.823, RGB_UNCHANGED,
        "layer_normalization",
        "tensorflow/keras-applications/convnext/convnext_small_notop.h5",
        "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
        "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
        top_layers=name_convnext_top("small"),
    ),
    keras_application(
        "ConvNeXtBase", 224, 1024, 87_566_464, 15_353_705_472, 0.853, RGB_UNCHANGED,
        "layer_normalization",
        "tensorflow/keras-applications/convnext/convnext_base_notop.h5",
        "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
        "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
        top_layers=name_convnext_top("base"),
    ),
    keras_application(
        "ConvNeXtLarge", 224, 1536, 196_230_336, 34_359_897_600, 0.863, RGB_UNCHANGED,
        "layer_normalization",
        "tensorflow/keras-applications/convnext/convnext_large_notop.h5",
        "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
        "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6",
        top_layers=name_convnext_top("large"),
    ),
    keras_application(
        "ConvNeXtXLarge", 224, 2048, 348_147_968, 60_918_982_656, 0.867, RGB_UNCHANGED,
        "layer_normalization",
        "tensorflow/keras-applications/convnext/convnext_xlarge_notop.h5",
        "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
        "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee",
        top_layers=name_convnext_top("xlarge"),
    ),
    keras_application(
        "InceptionV3", 299, 2048, 21_802_784, 5_711_168_096, 0.779, RGB_MINUS_1_TO_1,
        "mixed10",
        "tensorflow/keras-applications/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "bcbd6486424b2319ff4ef7d526e38f63",
        "9a0d58056eeedaa3f26cb7ebd46da564", aliases=("inception",),
    ),
    keras_application(
        "InceptionResNetV2", 299, 1536, 54_336_736, 13_154_258_016, 0.803, RGB_MINUS_1_TO_1,
        "conv_7b_ac",
        "tensorflow/keras-applications/inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "d19885ff4a710c122648d3b5c3b684e4",
        "e693bd0210a403b3192acc6073ad2e96",
    ),
    keras_application(
        "Xception", 299, 2048, 20_861_480, 8_355_355_496, 0.79, RGB_MINUS_1_TO_1,
        "block14_sepconv2_act",
        "tensorflow/keras-applications/xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "b0042744bf5b25fce3cb969f33bebb97",
        "0a58e3b7378bc2990ea3b43d5981f1f6",
    ),
    keras_application(
        "NASNetMobile", 224, 1056, 4_269_716, 562_582_816, 0.744, RGB_MINUS_1_TO_1,
        "activation_187",
        "tensorflow/keras-applications/nasnet/NASNet-mobile-no-top.h5",
        "1ed92395b5b598bdda52abe5c0dbfd63",
        "020fb642bf7360b370c678b08e0adf61",
        aliases=("nasnet",), file="nasnet_mobile_no_top.h5", top_layers=("predictions",),
    ),
    keras_application(
        "NASNetLarge", 331, 4032, 84_916_818, 23_779_382_658, 0.825, RGB_MINUS_1_TO_1,
        "activation_259",
        "tensorflow/keras-applications/nasnet/NASNet-large-no-top.h5",
        "d81d89dc07e6e56530c4e77faddd61b5",
        "11577c9a518f0070763c2b964a382f17",
        file="nasnet_large_no_top.h5", top_layers=("predictions",),
    ),
    torchvision(
        "alexnet", "AlexNet", 4096, 57_003_840, 710_092_480, 0.56522, "fc7",
        "7be5be79", ("predictions",), file="alexnet-owt-7be5be79.pth",
    ),
    torchvision(
        "squeezenet1_0", "SqueezeNet1_0", 512, 735_424, 732_396_576, 0.58092, "fire9_concat",
        "b66bff10", ("top_dropout", "top_conv", "predictions"),
    ),
    torchvision(
        "squeezenet1_1", "SqueezeNet1_1", 512, 722_496, 262_623_936, 0.58178, "fire9_concat",
        "b8a52dc0", ("top_dropout", "top_conv", "predictions"), aliases=("squeezenet",),
    ),
    torchvision(
        "resnet18", "ResNet18", 512, 11_186_112, 1_813_561_344, 0.69758, "conv5_block2_out",
        "f37072fd", ("avg_pool", "predictions"),
    ),
)
# fmt: on

BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _ALL}
