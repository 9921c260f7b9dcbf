from setuptools import find_packages, setup

if __name__ == "__main__":
    # trainers/ and dataset_conversion/ lie at the top, where nnU-Net users look for them, but install inside the
    # package: site-packages gets no generic name
    mapped = {f"nnunetv2_simple.{folder}": folder for folder in ("trainers", "dataset_conversion")}
    setup(packages=[*find_packages(include=["nnunetv2_simple*"]), *mapped], package_dir=mapped)
