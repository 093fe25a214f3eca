"""Names that a framework does not know."""

from exporter.sources.names import unknown_network


def test_similar_names_are_in_the_message() -> None:
    error = unknown_network("resnet5", ["resnet50", "vgg11"], "torchvision.models.list_models()")
    assert str(error) == "torchvision has no network 'resnet5'. Similar names: resnet50"


def test_without_a_similar_name_the_message_says_how_to_list_them() -> None:
    error = unknown_network("qqq", ["resnet50"], "timm.list_models()")
    assert str(error) == "timm has no network 'qqq'. See timm.list_models()"
