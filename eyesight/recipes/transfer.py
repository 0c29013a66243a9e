"""Training on top of pretrained networks: the team's, the article's, and ours, which computes what is frozen once."""

from __future__ import annotations

from dataclasses import replace

from eyesight.recipe import Augment, Data, Loss, Model, Optim, Recipe, Training, Transfer
from eyesight.recipes.digits import OURS
from eyesight.recipes.objects import TEAM

ARTICLE = "an article on VGG and transfer learning for handwritten digits"
BACKBONE = "tf_efficientnet_lite0"  # its weights can be installed as a package, without any hub


def objects_transfer() -> Recipe:
    """A head on a frozen backbone (O7, O8, O9); in print .656 (VGG16), .823 (ResNet50V2) and .09 to .83 for fourteen backbones.

    `eyesight train objects_transfer`; O9: `eyesight compare objects_transfer --set model.name=DenseNet121,VGG16,Xception,…`;
    O7: `--set model.name=VGG16 --set training.epochs=10 --set training.batch=32`;
    O8: `--set model.name=ResNet50V2 --set "model.head=512 norm average" --set training.epochs=10 --set training.batch=32`.
    """
    return Recipe(
        name="objects_transfer",
        summary="a new head on a frozen pretrained network, ten classes of objects",
        result="73.09 % of CIFAR-10 (as JPEG) on a frozen EfficientNet-lite0, one seed, 2 minutes, time for 9,444 pictures",
        system="O9",
        source=TEAM,
        data=Data("cifar10", size=96, channels=3, validation=0.1),
        augment=Augment(flip="random"),
        model=Model(BACKBONE, weights="imagenet", head="average"),
        optim=Optim("adam", lr=0.001, schedule="cosine"),
        training=Training(epochs=20, batch=128),
        transfer=Transfer(freeze="all", views=2),
    )


def objects_finetune() -> Recipe:
    """First the head, then the last stage too (O10: ResNet50V2 at 224×224, in print .8388 and then .8918 in 2,975 s).

    `eyesight train objects_finetune --budget 10m`; as published, where its weights are at hand:
    `--set model.name=ResNet50V2 --set data.size=224 --set "model.head=average 256 dropout.5" --set transfer.thaw_batch=16`.
    """
    return Recipe(
        name="objects_finetune",
        summary="a head, then the last stage of a pretrained network, ten classes of objects",
        result="80.31 % of CIFAR-10 (as JPEG) with EfficientNet-lite0, one seed, 3 minutes on two cores",
        system="O10",
        source=TEAM,
        data=Data("cifar10", size=96, channels=3, validation=0.02),
        augment=Augment(flip="random"),
        model=Model(BACKBONE, weights="imagenet", head="average 256 dropout.5"),
        loss=Loss(smoothing=0.1),
        optim=Optim("adam", lr=0.001, schedule="cosine"),
        training=Training(epochs=5, batch=128, views="flip"),
        transfer=Transfer(
            freeze="all",
            views=2,
            thaw="conv5",
            thaw_epochs=4,
            thaw_share=0.92,
            thaw_lr=5e-4,
            thaw_batch=64,
        ),
    )


def objects_lite0() -> Recipe:
    """Ours: what lies below the fourth stage is computed once for each picture and its mirror image, the rest trains from the first step.

    `eyesight train objects_lite0 --budget 10m`. There is no stage for the head alone: its features would cost as much as an epoch,
    and a short warm-up does the same. Earlier stages learn more slowly.
    """
    return replace(
        objects_finetune(),
        name="objects_lite0",
        summary="ten classes of objects, the last stages of a small pretrained network",
        result="91.59 % of CIFAR-10's test pictures (as JPEG, quality 75), one seed, 10 minutes on two cores; 90.31 % in 5",
        system="",
        source=OURS,
        model=Model(BACKBONE, weights="imagenet", head="average dropout.2"),
        optim=Optim(
            "adamw",
            lr=0.0015,
            weight_decay=0.02,
            schedule="one_cycle",
            warmup=0.15,
            layer_decay=0.6,
            bias_scale=1.0,
        ),
        training=Training(epochs=5, batch=128, views="flip", keep="last"),
        transfer=Transfer(freeze="conv4", views=2),
    )


def digits_vgg16() -> Recipe:
    """VGG16 with ImageNet weights, frozen, on digits of 32×32×3 (D5): FC4096, dropout .2, FC1000; batch 64, 40 epochs.

    `eyesight train digits_vgg16`
    """
    return Recipe(
        name="digits_vgg16",
        summary="handwritten digits on a frozen VGG16",
        result="not with VGG16's weights; with EfficientNet-lite0 in its place 77.47 %, one seed, 1 minute on two cores",
        system="D5",
        source=ARTICLE,
        data=Data("mnist", size=28, pad=2, channels=3, validation=0.1),
        model=Model("VGG16", weights="imagenet", head="flatten 4096 dropout.2 1000"),
        optim=Optim("adam", lr=0.001),
        training=Training(epochs=40, batch=64),
    )


def digits_resnet152v2() -> Recipe:
    """ResNet152V2 with ImageNet weights, frozen, on digits (D6): flatten, FC10; batch 256, 40 epochs; worse than small networks.

    `eyesight train digits_resnet152v2`
    """
    return Recipe(
        name="digits_resnet152v2",
        summary="handwritten digits on a frozen ResNet152V2: deeper is not always better",
        result="not with ResNet152V2's weights; with EfficientNet-lite0 in its place 75.91 %, one seed, 1 minute on two cores",
        system="D6",
        source=ARTICLE,
        data=Data("mnist", size=28, pad=2, channels=3, validation=0.1),
        model=Model("ResNet152V2", weights="imagenet", head="flatten"),
        optim=Optim("adam", lr=0.001),
        training=Training(epochs=40, batch=256),
    )
