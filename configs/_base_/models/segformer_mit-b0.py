# SegFormer with its smallest backbone (Xie et al.: "SegFormer: Simple and Efficient Design for Semantic Segmentation
# with Transformers", NeurIPS 2021). Larger backbones differ in `embed_dims`, `num_layers` and the head's `in_channels`.
norm_cfg = dict(type='BN', requires_grad=True)
embed_dims = 32
num_heads = [1, 2, 5, 8]
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='MixVisionTransformer',
        in_channels=3,
        embed_dims=embed_dims,
        num_stages=4,
        num_layers=[2, 2, 2, 2],
        num_heads=num_heads,
        patch_sizes=[7, 3, 3, 3],
        sr_ratios=[8, 4, 2, 1],
        out_indices=(0, 1, 2, 3),
        mlp_ratio=4,
        qkv_bias=True,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        drop_path_rate=0.1,
    ),
    decode_head=dict(
        type='SegformerHead',
        in_channels=[embed_dims * heads for heads in num_heads],
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
