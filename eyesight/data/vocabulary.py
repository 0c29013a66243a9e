"""Words that name splits, folders of images and columns of tables, in several languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

Split = Literal["train", "validation", "test"]

SPLIT_WORDS: dict[Split, str] = {
    "train": """
        train training trainings trn learn learning trainieren entrenamiento entrainement
        apprentissage treino treinamento treinar addestramento trening traning egitim latih
        pelatihan обучение обучающая тренировка 训练 訓練 学習 훈련 학습
    """,
    "validation": """
        val valid validation validate dev devel development eval validierung validierungs
        validacion validacao validazione validering walidacja dogrulama validasi валидация
        проверка 验证 驗證 検証 검증
    """,
    "test": """test testing tst holdout prueba pruebas teste testes prova essai uji pengujian
        тест тестовая 测试 測試 テスト 테스트 시험 평가""",
}
GENERIC = """
        set sets data dataset image images img imgs picture pictures pic pics photo photos frame
        frames folder split dir file files full all daten bilder imagenes fotos 集 数据 데이터 사진
    """
CONTAINERS = f"""
        {GENERIC} datasets docs jpegimages raw upload uploads download downloads export archive
        jpg jpeg png thumbnail thumbnails thumb thumbs preview previews
    """
NUMBERED = """
        part parts fold folds batch batches chunk chunks shard shards site hospital center
        centre patient subject session camera cam plate slide run scan day week user study visit
        exam
    """  # with a number or letter
MASK_WORDS = (  # in the names of masks, and of their folders
    r"masks?|labels?|annot(?:ation)?s?|seg(?:mentation)?s?|gt|gtfine|gtcoarse|ground[-_ ]?truths?"
    r"|trimaps?"
)
NUMBER = re.compile(r"\d+")
TOKEN = re.compile(r"[^\W\d_]+|\d+")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

PATH_COLUMNS = [
    "path",
    "paths",
    "file",
    "files",
    "filename",
    "filenames",
    "file_name",
    "file_names",
    "filepath",
    "file_path",
    "fname",
    "image",
    "images",
    "image_path",
    "imagepath",
    "img_path",
    "img",
    "image_name",
    "image_file",
    "image_filename",
    "filename_jpg",
    "picture",
    "photo",
    "foto",
    "bild",
    "datei",
    "dateiname",
    "fichier",
    "archivo",
    "imagen",
    "image_id",
    "imageid",
    "img_id",
    "name",
    "id",
    "uuid",
    "key",
    "url",
    "uri",
    "src",
    "ファイル",
    "画像",
    "파일",
    "이미지",
    "文件",
    "图片",
]
SPLIT_COLUMNS = [
    "split",
    "subset",
    "set",
    "partition",
    "phase",
    "usage",
    "fold_type",
    "data_split",
    "dataset",
]
FOLD_COLUMNS = ["fold", "folds", "kfold", "k_fold", "cv", "cv_fold", "fold_id"]
FLAG_COLUMNS: dict[str, tuple[Split, Split]] = {  # column: the split of a yes, and of a no
    "is_valid": ("validation", "train"),
    "is_validation": ("validation", "train"),
    "is_val": ("validation", "train"),
    "valid": ("validation", "train"),
    "is_test": ("test", "train"),
    "is_train": ("train", "test"),
    "is_training": ("train", "test"),
    "is_training_image": ("train", "test"),
}
LABEL_COLUMNS = (  # the first group that occurs decides
    ["label", "labels"],
    [
        "class",
        "classes",
        "class_name",
        "classname",
        "class_label",
        "klass",
        "klasse",
        "label_name",
        "category_name",
    ],
    [
        "category",
        "categories",
        "kategorie",
        "categoria",
        "etikett",
        "etiqueta",
        "klassen",
        "标签",
        "标注",
        "类别",
        "ラベル",
        "라벨",
        "분류",
    ],
    [
        "target",
        "targets",
        "ground_truth",
        "groundtruth",
        "gt",
        "diagnosis",
        "dx",
        "breed",
        "species",
        "variety",
        "cultivar",
    ],
    [
        "class_id",
        "classid",
        "label_id",
        "labelid",
        "category_id",
        "categoryid",
        "cls",
        "y",
        "tag",
        "tags",
    ],
)
MEASURES = [
    "x",
    "y",
    "w",
    "h",
    "width",
    "height",
    "depth",
    "xmin",
    "xmax",
    "ymin",
    "ymax",
    "x1",
    "x2",
    "y1",
    "y2",
    "left",
    "right",
    "top",
    "bottom",
    "bbox",
    "box",
    "area",
    "score",
    "confidence",
    "size",
    "bytes",
    "channels",
    "time",
    "timestamp",
    "date",
    "index",
    "idx",
    "row",
    "url",
    "md5",
    "sha256",
    "hash",
    "license",
    "author",
    "age",
    "latitude",
    "longitude",
    "lat",
    "lon",
]
NO_LABEL_COLUMNS = frozenset([*MEASURES, *FOLD_COLUMNS, *FLAG_COLUMNS])
MISSING = frozenset(["", "nan", "<na>", "#n/a", "n/a", "null", "nat"])
YES = frozenset(["1", "1.0", "true", "yes", "t", "y"])
NO = frozenset(["0", "0.0", "false", "no", "f", "n"])


def fold(text: str) -> str:
    """The text without case, accents and surrounding spaces: how words are compared."""
    plain = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _folded(words: str) -> frozenset[str]:
    return frozenset(fold(word) for word in words.split())


SPLITS: dict[str, Split] = {
    word: split for split, words in SPLIT_WORDS.items() for word in _folded(words)
}
_GENERIC = _folded(GENERIC)
_CONTAINERS = _folded(CONTAINERS)
_NUMBERED = _folded(NUMBERED)
_PARTS = _folded("image images img imgs part parts fold folds batch batches chunk shard split")
_THUMBNAILS = frozenset(["thumb", "thumbs", "thumbnail", "thumbnails"])
_UNLABELLED = frozenset(["unlabelled", "unlabeled", "unannotated", "nolabel", "nolabels"])
ABBREVIATIONS: dict[str, Split] = {"tr": "train", "ts": "test", "te": "test"}  # only together
_MASK_WORD = re.compile(MASK_WORDS)
_MASK_FOLDERS = re.compile(
    rf"(.*[-_ ])?({MASK_WORDS}|segmentation(class|object)(raw|aug)?)", re.IGNORECASE
)


def exact_split(name: str) -> Split | None:
    """The split that a name says by itself: `train`, `Validation`, `dev`, `测试`."""
    return SPLITS.get(fold(name))


@lru_cache(maxsize=4096)
def split_and_rest(name: str) -> tuple[Split | None, frozenset[str]]:
    """The one split word within a name, and the words left beside it.

    `seg_train` gives train and {seg}, `training_set` and `train2017` give train and nothing:
    numbers and generic words do not count. Folders of one data set have the same rest;
    `train_station` and `test_tube` do not. The split is None where there is no such word, or words
    of two splits.
    """
    splits: set[Split] = set()
    rest: set[str] = set()
    for token in words_in(name):
        split = SPLITS.get(token) or _glued_split(token)
        if split is not None:
            splits.add(split)
        elif token not in _GENERIC and not NUMBER.fullmatch(token):
            rest.add(token)
    if len(splits) != 1:
        return None, frozenset(rest)
    return splits.pop(), frozenset(rest)


def is_container(name: str) -> bool:
    """Whether a folder's name says only that something lies in it.

    `images_part_1`, `fold_0`, `site B`.
    """
    containers = 0
    numbers = 0
    for token in words_in(name):
        if _is_number(token):
            numbers += 1
        elif token in _CONTAINERS or _glued_container(token):
            containers += 1
        elif token not in _NUMBERED:
            return False
    return containers > 0 or (numbers > 0 and any(token in _NUMBERED for token in words_in(name)))


def are_numbered_containers(names: Sequence[str]) -> bool:
    """Whether names differ in a number alone and say that something lies there.

    `HAM10000_images_part_1`, `HAM10000_images_part_2`.
    """
    words = {tuple(token for token in words_in(name) if not _is_number(token)) for name in names}
    if len(names) < 2 or len(words) != 1:
        return False
    return bool(_PARTS.intersection(words.pop()))


def _is_number(token: str) -> bool:
    """Whether a part of a name numbers it: `12`, or the `B` of `site B`."""
    return NUMBER.fullmatch(token) is not None or len(token) == 1


@lru_cache(maxsize=4096)
def is_thumbnail_folder(name: str) -> bool:
    """Whether a folder is called as those of thumbnails are: `thumbs`, `_thumbnails_150`."""
    words = [token for token in words_in(name) if not NUMBER.fullmatch(token)]
    return bool(words) and all(word in _THUMBNAILS for word in words)


def is_mask_folder(name: str) -> bool:
    """Whether a folder is called as those of masks are.

    `masks`, `train_labels`, `SegmentationClass`, `labelsTr`.
    """
    if _MASK_FOLDERS.fullmatch(name) is not None:
        return True
    tokens = words_in(name)
    others = [token for token in tokens if _MASK_WORD.fullmatch(token) is None]
    says_split = all(token in SPLITS or token in ABBREVIATIONS for token in others)
    return len(others) < len(tokens) and says_split


def is_unlabelled_folder(name: str) -> bool:
    """Whether a folder's name says that its images have no class: `unlabeled`."""
    return any(token in _UNLABELLED for token in words_in(name))


def is_image_folder(name: str) -> bool:
    """Whether a folder is called as those of images are: `images`, `imagesTr`."""
    if is_container(name):
        return True
    tokens = [token for token in words_in(name) if token not in ABBREVIATIONS]
    return bool(tokens) and all(token in _CONTAINERS for token in tokens)


def abbreviated_split(name: str) -> Split | None:
    """The split that `tr`, `te`, `ts` or `images_tr` say, where both are there."""
    splits = [ABBREVIATIONS[token] for token in words_in(name) if token in ABBREVIATIONS]
    return splits[0] if len(splits) == 1 else None


def hints_at_no_class(name: str) -> bool:
    """Whether a folder's name rather says what its images are for than what they show.

    `thumbnails`, `images`, `bounding_box_train`.
    """
    return is_container(name) or split_and_rest(name)[0] is not None


def label_rank(column: str) -> int | None:
    """The group of LABEL_COLUMNS a column belongs to, exact names first.

    None for any other name.
    """
    name = column_key(column)
    groups = len(LABEL_COLUMNS)
    for rank, words in enumerate(LABEL_COLUMNS):
        if name in {column_key(word) for word in words}:
            return rank
    tokens = set(name.split("_"))
    for rank, words in enumerate(LABEL_COLUMNS[:4]):
        if tokens.intersection(words):
            return groups + rank
    return None


def path_rank(column: str) -> int:
    """The place of a column's name among PATH_COLUMNS; names that are not there come last."""
    name = column_key(column)
    if name in PATH_COLUMNS:
        return PATH_COLUMNS.index(name)
    tokens = set(name.split("_"))
    if tokens.intersection(PATH_COLUMNS[:20]):
        return len(PATH_COLUMNS)
    return len(PATH_COLUMNS) + 1


def column_key(column: str) -> str:
    """A column's name for comparing.

    `Image Name`, `imageName` and `image-name` are `image_name`.
    """
    return "_".join(TOKEN.findall(fold(CAMEL.sub(" ", column))))


def words_in(name: str) -> list[str]:
    """The words and numbers in a name: `trainMasks_2` gives train, masks and 2."""
    return TOKEN.findall(fold(CAMEL.sub(" ", name)))


def _glued_split(token: str) -> Split | None:
    """`trainset`, `testimages`, `训练集`: a split word and a generic word in one."""
    for generic in _GENERIC:
        if token.endswith(generic) and token.removesuffix(generic) in SPLITS:
            return SPLITS[token.removesuffix(generic)]
    return None


def _glued_container(token: str) -> bool:
    for generic in _GENERIC:
        if token.endswith(generic) and token.removesuffix(generic) in _CONTAINERS:
            return True
    return False
