# SegFormer-B0 on a folder of one's own: copy this file, name the classes, and say where the data are, as in
# `DATA=/my/images intarsia train my_config.py --out runs/mine`
_base_ = [
    '_base_/models/segformer_mit-b0.py',
    '_base_/datasets/folder.py',
    '_base_/schedules/adamw_8k.py',
    '_base_/default_runtime.py',
]
checkpoint = 'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth'
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size_divisor=32)),
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    decode_head=dict(num_classes=len(_base_.metainfo.classes)),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))))
