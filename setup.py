from pathlib import Path

from setuptools import setup

if __name__ == "__main__":
    version = next(
        line.split('"')[1]
        for line in Path("nnunetv2_simple/__init__.py").read_text().splitlines()
        if line.startswith("__version__")
    )
    setup(
        name="nnunetv2_simple",
        version=version,
        description="Weakly-supervised segmentation from six extreme points, as a plugin for nnU-Net v2",
        long_description=Path("README.md").read_text(),
        long_description_content_type="text/markdown",
        license="Apache-2.0",
        license_files=["LICENSE"],
        python_requires=">=3.10",
        # trainers/ and dataset_conversion/ lie at the top, where nnU-Net users look for them, but install inside the
        # package: site-packages gets no generic name
        package_dir={
            "nnunetv2_simple.trainers": "trainers",
            "nnunetv2_simple.dataset_conversion": "dataset_conversion",
        },
        packages=[
            "nnunetv2_simple",
            "nnunetv2_simple.annotations",
            "nnunetv2_simple.conversion",
            "nnunetv2_simple.quality_control",
            "nnunetv2_simple.training",
            "nnunetv2_simple.comparison",
            "nnunetv2_simple.report",
            "nnunetv2_simple.trainers",
            "nnunetv2_simple.dataset_conversion",
        ],
        install_requires=[
            "nnunetv2>=2.5.2",
            "torch>=2.1.2",
            "acvl-utils>=0.2.6",
            "batchgenerators>=0.25.1",
            "blosc2>=3.3.2",
            "joblib>=1.4",
            "matplotlib",
            "nibabel",
            "numpy>=1.24",
            "pillow",
            "plotly>=6",
            "scikit-image>=0.19.3",
            "scipy>=1.11",
            "SimpleITK>=2.2.1",
            "threadpoolctl",
            "tqdm",
        ],
        extras_require={
            "dask": ["distributed"],
            "dev": ["distributed", "psutil", "pytest", "pytest-xdist", "ruff", "setuptools>=68"],
        },
        entry_points={
            "console_scripts": [
                "nnUNetv2_simple_compare = nnunetv2_simple.comparison.compare:main",
                "nnUNetv2_simple_convert = nnunetv2_simple.dataset_conversion.convert:main",
                "nnUNetv2_simple_demo = nnunetv2_simple.demo:main",
                "nnUNetv2_simple_export = nnunetv2_simple.export:main",
                "nnUNetv2_simple_trainers = nnunetv2_simple.trainer_folder:main",
            ]
        },
    )
