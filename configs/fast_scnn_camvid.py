# Fast-SCNN on CamVid: `intarsia train configs/fast_scnn_camvid.py --out runs/camvid`
_base_ = [
    '_base_/models/fast_scnn.py',
    '_base_/datasets/camvid.py',
    '_base_/schedules/sgd_4k.py',
    '_base_/default_runtime.py',
]
num_classes = len(_base_.metainfo.classes)
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, seg_pad_val=_base_.void, test_cfg=dict(size_divisor=32)),
    decode_head=dict(num_classes=num_classes, ignore_index=_base_.void),
    # A list replaces a list, so the inherited heads are written again with what differs.
    auxiliary_head=[
        {**head, 'num_classes': num_classes, 'ignore_index': _base_.void} for head in _base_.model.auxiliary_head
    ],
)
randomness = dict(seed=0)
