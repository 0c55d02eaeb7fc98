"""The 17 benchmarks that need preparing, by name: what to download, from whom, under which licence, how much it is.

Licences are in short words of our own; the publisher's page counts. `sources` says where each fact was read, in
November 2026 and without the web: in stored copies of public pages, and in public programs that download the files.
What no source says is "not known". Gigabytes are 10^9 bytes. Labels are not counted where they may lie among the
publisher's own, because OUT may be the folder of the download (Cityscapes, COCO-Stuff 164k).
"""

from __future__ import annotations

from intarsia.data.prepare import aerial, cityscapes, coco_stuff, lists, pascal_context, refuge, retina
from intarsia.data.prepare.benchmark import NOT_KNOWN, Benchmark

_CUT = ("clip_size", "stride_size")
_COCO = "photographs: the terms of Flickr; labels CC BY 4.0"
_KINGSTON = (
    "https://researchinnovation.kingston.ac.uk/en/datasets/chasedb1-retinal-vessel-reference-dataset-4/ (earlier: "
    "https://staffnet.kingston.ac.uk/~ku15565/CHASE_DB1/assets/CHASEDB1.zip)"
)
_CALVIN = "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"

_ALL = (
    Benchmark(
        name="chase_db1",
        title="CHASE_DB1, vessels of the retina",
        downloads=("CHASEDB1.zip",),
        address=_KINGSTON,
        files="84 in the archive: 28 images, 56 masks of two observers",
        licence="CC BY 4.0",
        gigabytes="0.0024",
        sources=("files: the publisher's page; licence and size: public repositories that quote it",),
        expected="CHASEDB1.zip with Image_01L.jpg, Image_01L_1stHO.png ...",
        plan=retina.chase_db1,
        dataset="ChaseDB1Dataset",
        root="data/CHASE_DB1",
        recipe="unet-s5-d16_fcn_4xb4-40k_chase-db1-128x128",
        counts={
            "images/training": 20, "images/validation": 8, "annotations/training": 40, "annotations/validation": 16,
        },
        names=retina.chase_names,
    ),
    Benchmark(
        name="drive",
        title="DRIVE, vessels of the retina",
        downloads=("training.zip", "test.zip"),
        address="https://drive.grand-challenge.org, after registration; test images come without 1st_manual",
        licence="research and education only; no redistribution",
        files="40 images, 20 masks (of the test images none are published)",
        gigabytes=NOT_KNOWN,
        sources=(
            "http://www.isi.uu.nl/Research/Databases/DRIVE/",
            "that masks of the test images are not published: docs of MMSegmentation 1.2.2",
        ),
        expected="training.zip and test.zip with images/21_training.tif, training/1st_manual/21_manual1.gif ...",
        plan=retina.drive,
        dataset="DRIVEDataset",
        root="data/DRIVE",
        recipe="unet-s5-d16_fcn_4xb4-40k_drive-64x64",
        counts={"images/training": 20, "images/validation": 20, "annotations/training": 20},
    ),
    Benchmark(
        name="hrf",
        title="HRF, vessels of the retina in high resolution",
        downloads=(
            "healthy.zip", "healthy_manualsegm.zip", "glaucoma.zip", "glaucoma_manualsegm.zip",
            "diabetic_retinopathy.zip", "diabetic_retinopathy_manualsegm.zip",
        ),
        address="https://www5.cs.fau.de/fileadmin/research/datasets/fundus-images/",
        files="90 in six archives of 15: 45 images, 45 masks",
        licence="CC BY 4.0",
        gigabytes="not known as a whole; healthy.zip and healthy_manualsegm.zip are 0.021",
        sources=("https://www5.cs.fau.de/research/data/fundus-images/, as a public repository quotes and measures it",),
        expected="the six archives with 01_h.jpg, 01_h.tif, 01_g.jpg, 01_dr.JPG ...",
        plan=retina.hrf,
        dataset="HRFDataset",
        root="data/HRF",
        recipe="unet-s5-d16_fcn_4xb4-40k_hrf-256x256",
        counts={
            "images/training": 15, "images/validation": 30, "annotations/training": 15, "annotations/validation": 30,
        },
        names=retina.hrf_names,
    ),
    Benchmark(
        name="stare",
        title="STARE, vessels of the retina",
        downloads=("stare-images.tar", "labels-ah.tar", "labels-vk.tar"),
        address="http://cecas.clemson.edu/~ahoover/stare/probing/",
        files="60 in three archives of 20: 20 images, 40 masks of two observers",
        licence=NOT_KNOWN,
        gigabytes=NOT_KNOWN,
        sources=("docs of MMSegmentation 1.2.2: address; its converter: files",),
        expected="stare-images.tar, labels-ah.tar, labels-vk.tar with im0001.ppm.gz, im0001.ah.ppm.gz ...",
        plan=retina.stare,
        dataset="STAREDataset",
        root="data/STARE",
        recipe="unet-s5-d16_fcn_4xb4-40k_stare-128x128",
        counts={
            "images/training": 10, "images/validation": 10, "annotations/training": 20, "annotations/validation": 20,
        },
    ),
    Benchmark(
        name="refuge",
        title="REFUGE, optic disc and cup",
        downloads=(
            "REFUGE-Training400.zip", "Annotation-Training400.zip", "REFUGE-Validation400.zip",
            "REFUGE-Validation400-GT.zip", "REFUGE-Test400.zip", "REFUGE-Test-GT.zip",
        ),
        address="https://refuge.grand-challenge.org/REFUGE2Download, after registration",
        files="1,200 images, 1,200 masks",
        licence="not known; registration",
        gigabytes=NOT_KNOWN,
        sources=("https://refuge.grand-challenge.org/Details/: files",),
        expected="archives whose names say Training, Validation or Test, with .jpg images and .bmp masks",
        plan=refuge.refuge,
        dataset="REFUGEDataset",
        root="data/REFUGE",
        counts={
            f"{kind}/{split}": 400
            for kind in ("images", "annotations")
            for split in ("training", "validation", "test")
        },
    ),
    Benchmark(
        name="cityscapes",
        title="Cityscapes, 19 classes from polygons",
        downloads=("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"),
        address="https://www.cityscapes-dataset.com/downloads/, after registration",
        licence="no commercial use: research, teaching, experiments of one's own; registration",
        files="5,000 images and polygons: 2,975 train, 500 val, 1,525 test",
        gigabytes="11.2 (11 and 0.241)",
        sources=(
            "https://www.cityscapes-dataset.com/license/, and license.txt of cityscapesScripts",
            "https://github.com/mcordts/cityscapesScripts: files",
            "sizes: public repositories that quote the download page",
        ),
        expected="gtFine/train/CITY/..._gtFine_polygons.json (and leftImg8bit/)",
        plan=cityscapes.cityscapes,
        dataset="CityscapesDataset",
        root="data/cityscapes",
        recipe="pspnet_r50-d8_4xb2-80k_cityscapes-512x1024",
        options=("gt_dir",),
        counts={"leftImg8bit/train": 2975, "leftImg8bit/val": 500, "leftImg8bit/test": 1525},
    ),
    Benchmark(
        name="coco_stuff10k",
        title="COCO-Stuff 10k, 171 classes",
        downloads=("cocostuff-10k-v1.1.zip",),
        address=f"{_CALVIN}cocostuff-10k-v1.1.zip",
        files="10,000 images and .mat files: 9,000 train, 1,000 test",
        licence=_COCO,
        gigabytes="2.0",
        sources=("https://github.com/nightrome/cocostuff10k",),
        expected="cocostuff-10k-v1.1.zip with images/, annotations/*.mat, imageLists/train.txt and test.txt",
        plan=coco_stuff.coco_stuff10k,
        dataset="COCOStuffDataset",
        root="data/coco_stuff10k",
        recipe="deeplabv3_r50-d8_4xb4-20k_coco-stuff10k-512x512",
        counts={
            "images/train2014": 9000, "images/test2014": 1000, "annotations/train2014": 9000,
            "annotations/test2014": 1000,
        },
    ),
    Benchmark(
        name="coco_stuff164k",
        title="COCO-Stuff 164k, 171 classes",
        downloads=("train2017.zip", "val2017.zip", "stuffthingmaps_trainval2017.zip"),
        address=f"http://images.cocodataset.org/zips/ and {_CALVIN}stuffthingmaps_trainval2017.zip",
        files="123,287 images and masks: 118,287 train, 5,000 val",
        licence=_COCO,
        gigabytes="19.7 (18, 1 and 0.659)",
        sources=(
            "https://github.com/nightrome/cocostuff",
            "files: torchvision and others count 118,287 and 5,000",
        ),
        expected="train2017/*.png and val2017/*.png (and the photographs *.jpg)",
        plan=coco_stuff.coco_stuff164k,
        dataset="COCOStuffDataset",
        root="data/coco_stuff164k",
        recipe="deeplabv3_r50-d8_4xb4-80k_coco-stuff164k-512x512",
        counts={"images/train2017": 118287, "images/val2017": 5000},
    ),
    Benchmark(
        name="isaid",
        title="iSAID, objects from above, cut into windows",
        downloads=("train, val, test: images/*.zip of DOTA", "train, val: Semantic_masks/*.zip"),
        address="https://captain-whu.github.io/DOTA/dataset.html and https://captain-whu.github.io/iSAID/dataset.html",
        files="1,411 train, 458 val, 937 test images; 45,622 windows of 896 x 896: 33,978 train, 11,644 val",
        licence="academic use only, no commercial use (said of DOTA, whose images these are)",
        gigabytes="13.7 (train and val: images 10.2 and 3.3, masks 0.2, as torchgeo packs them); of test not known",
        sources=(
            "https://captain-whu.github.io/DOTA/dataset.html: licence",
            "size: https://huggingface.co/datasets/torchgeo/dota and .../isaid, lists of files",
            "files: DOTAv1.yaml of Ultralytics; windows: docs of MMSegmentation 1.2.2",
        ),
        expected="a folder with train/images/*.zip, train/Semantic_masks/*.zip, val/... and test/images/*.zip",
        plan=aerial.isaid,
        dataset="iSAIDDataset",
        root="data/iSAID",
        recipe="deeplabv3plus_r50-d8_4xb4-80k_isaid-896x896",
        options=("patch_width", "patch_height", "overlap_area"),
        counts={"img_dir/train": 33978, "ann_dir/train": 33978, "img_dir/val": 11644, "ann_dir/val": 11644},
    ),
    Benchmark(
        name="levircd",
        title="LEVIR-CD, buildings that have changed, cut into windows",
        downloads=("train.zip", "val.zip", "test.zip",),
        address="https://justchenhao.github.io/LEVIR/; LEVIR-CD+: https://github.com/S2Looking/Dataset",
        licence="academic use only, no commercial use",
        gigabytes="2.5 (1.72, 0.25, 0.50); of LEVIR-CD+ not known",
        files=(
            "LEVIR-CD: 637 pairs, 445 train, 64 val, 128 test; LEVIR-CD+: 985 pairs, 637 train, 348 test; each gives "
            "16 windows of 256 x 256"
        ),
        sources=(
            "licence: public repositories that quote https://justchenhao.github.io/LEVIR/; torchgeo states none",
            "files: torchgeo; sizes: those of its copy, satellite-image-deep-learning/LEVIR-CD on the Hugging Face Hub",
        ),
        expected="train/A/*.png, train/B/*.png, train/label/*.png, and test or val alike",
        plan=aerial.levircd,
        dataset="LEVIRCDDataset",
        root="data/LEVIRCD",
        recipe="swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256",
        options=_CUT,
    ),
    Benchmark(
        name="loveda",
        title="LoveDA, land cover",
        downloads=("Train.zip", "Val.zip", "Test.zip"),
        address="https://zenodo.org/records/5706578",
        licence="CC BY-NC-SA 4.0",
        gigabytes="9.6 (4.02, 2.43, 3.13)",
        files="5,987 images: 2,522 train, 1,669 val, 1,796 test without masks",
        sources=(
            "https://github.com/Junjue-Wang/LoveDA: licence",
            "files: torchgeo; sizes: public programs that download and check https://zenodo.org/records/5706578",
        ),
        expected="Train.zip, Val.zip, Test.zip with Train/Rural/images_png/*.png ...",
        plan=aerial.loveda,
        dataset="LoveDADataset",
        root="data/loveDA",
        recipe="deeplabv3plus_r50-d8_4xb4-80k_loveda-512x512",
        counts={
            "img_dir/train": 2522, "img_dir/val": 1669, "img_dir/test": 1796,
            "ann_dir/train": 2522, "ann_dir/val": 1669,
        },
    ),
    Benchmark(
        name="nyu",
        title="NYU, depth",
        downloads=("nyu.zip",),
        address=(
            "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html; in the layout of BTS, which is wanted here: "
            "https://drive.google.com/file/d/1wC-io-14RCIL4XTUrQLk6lBqU2AexLVp/view"
        ),
        licence=NOT_KNOWN,
        gigabytes="6.7 (another source says 6.2)",
        files="24,885 images and depths: 24,231 train, 654 test",
        sources=(
            "https://github.com/ldkong1205/RoboDepth (docs/DATA_PREPARE.md): address, files, 6.2",
            "a public program that follows DATASETS.md of DINOv3: 6.7, of another copy",
        ),
        expected="nyu.zip with nyu/nyu_train.txt, nyu/nyu_test.txt and a folder for each scene",
        plan=lists.nyu,
        dataset="NYUDataset",
        root="data/nyu",
        recipe="vpd_sd_4xb8-25k_nyu-480x480",
        counts={
            f"{kind}/{split}": count
            for kind in ("images", "annotations")
            for split, count in (("train", 24231), ("test", 654))
        },
    ),
    Benchmark(
        name="pascal_context",
        title="Pascal Context, 60 classes",
        downloads=("VOCtrainval_03-May-2010.tar", "trainval_merged.json of PASCAL in Detail"),
        address=(
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar and "
            "https://codalabuser.blob.core.windows.net/public/trainval_merged.json"
        ),
        files="10,103 images: 4,998 train, 5,105 val",
        licence="photographs: the terms of Flickr; of the annotations not known",
        gigabytes="1.3, and trainval_merged.json, whose size is not known",
        sources=(
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/, as public repositories quote it",
            "files: those of the 2010 split",
        ),
        expected="trainval_merged.json (and VOCdevkit/VOC2010 with JPEGImages)",
        plan=pascal_context.pascal_context,
        dataset="PascalContextDataset",
        root="data/VOCdevkit/VOC2010",
        recipe="deeplabv3_r101-d8_4xb4-40k_pascal-context-480x480",
        counts={"SegmentationClassContext": 10103},
    ),
    Benchmark(
        name="potsdam",
        title="ISPRS Potsdam, land cover, cut into windows",
        downloads=("2_Ortho_RGB.zip", "5_Labels_all_noBoundary.zip"),
        address="https://www.isprs.org/education/benchmarks/UrbanSemLab/default.aspx, by request",
        files="38 tiles of 6000 x 6000; 5,472 windows of 512 x 512: 3,456 train, 2,016 val",
        licence="not known; by request",
        gigabytes="13.3 (Potsdam.zip, which has these two and more)",
        sources=(
            "docs of MMSegmentation 1.2.2: address, windows; torchgeo: tiles",
            "size: a public program that downloads and checks Potsdam.zip of the publisher",
        ),
        expected="2_Ortho_RGB.zip and 5_Labels_all_noBoundary.zip with top_potsdam_2_10_RGB.tif ...",
        plan=aerial.potsdam,
        dataset="PotsdamDataset",
        root="data/potsdam",
        recipe="deeplabv3plus_r50-d8_4xb4-80k_potsdam-512x512",
        options=_CUT,
        counts={"img_dir/train": 3456, "ann_dir/train": 3456, "img_dir/val": 2016, "ann_dir/val": 2016},
    ),
    Benchmark(
        name="vaihingen",
        title="ISPRS Vaihingen, land cover, cut into windows",
        downloads=(
            "ISPRS_semantic_labeling_Vaihingen.zip",
            "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE.zip",
        ),
        address="https://www2.isprs.org/commissions/comm2/wg4/benchmark/data-request-form/, by request",
        files="33 tiles; 742 windows of 512 x 512: 344 train, 398 val",
        licence="research only, no redistribution; by request",
        gigabytes="14.9 (Vaihingen.zip, which has these two and more)",
        sources=(
            "licence: conditions of use of ISPRS, as public repositories quote them",
            "size: a public page of somebody who has fetched Vaihingen.zip (whut-zhangwx.github.io)",
            "docs of MMSegmentation 1.2.2: address, windows; torchgeo: tiles",
        ),
        expected="the two archives with top/top_mosaic_09cm_area1.tif and top_mosaic_09cm_area1_noBoundary.tif ...",
        plan=aerial.vaihingen,
        dataset="ISPRSDataset",
        root="data/vaihingen",
        recipe="deeplabv3plus_r50-d8_4xb4-80k_vaihingen-512x512",
        options=_CUT,
        counts={"img_dir/train": 344, "ann_dir/train": 344, "img_dir/val": 398, "ann_dir/val": 398},
    ),
    Benchmark(
        name="voc_aug",
        title="Pascal VOC 2012 with the labels of SBD",
        downloads=("VOCtrainval_11-May-2012.tar", "benchmark.tgz of SBD"),
        address=(
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar and "
            "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
        ),
        licence="photographs: the terms of Flickr; of the labels of SBD not known",
        gigabytes="3.4 (2.00 and 1.42)",
        files="17,125 photographs; 2,913 labels of VOC, 11,355 of SBD: 10,582 train, 1,449 val",
        sources=(
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
            "http://www.cs.berkeley.edu/~bharath2/codes/SBD/download.html: files of SBD",
            "sizes: logs of downloads in public repositories",
        ),
        expected="VOCdevkit/VOC2012 and the folder or archive of SBD with dataset/cls/*.mat",
        plan=lists.voc_aug,
        dataset="PascalVOCDataset",
        root="data/VOCdevkit/VOC2012",
        recipe="pspnet_r50-d8_4xb4-20k_voc12aug-512x512",
        counts={"SegmentationClassAug": 11355},
    ),
    Benchmark(
        name="synapse",
        title="Synapse, organs in CT slices",
        downloads=("RawData.zip: img/*.nii.gz, label/*.nii.gz", "train.txt, val.txt if not the split of TransUNet"),
        address="https://www.synapse.org/#!Synapse:syn3193805/wiki/, after registration",
        files="30 volumes: 18 train, 12 val; 3,779 slices: 2,212 train, 1,567 val",
        licence="not known; registration",
        gigabytes="1.5",
        sources=(
            "slices: arXiv:2102.04306 (TransUNet)",
            "size: a public repository that says how to fetch RawData.zip",
        ),
        expected="img/img0005.nii.gz, label/label0005.nii.gz (and train.txt, val.txt)",
        plan=lists.synapse,
        dataset="SynapseDataset",
        root="data/synapse",
    ),
)  # fmt: skip

BENCHMARKS = {benchmark.name: benchmark for benchmark in _ALL}


def benchmark_named(name: str) -> Benchmark:
    """The benchmark of a name. Raises ValueError listing the names."""
    if name not in BENCHMARKS:
        raise ValueError(f"expected the name of a benchmark, found {name!r}; there are {', '.join(sorted(BENCHMARKS))}")
    return BENCHMARKS[name]
