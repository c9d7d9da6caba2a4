# Where the project's own files are, from the working directory.
import os
import subprocess


def project_root(source):
    """Return the project's folder, as seen from the working directory, which holds data and results.

    With `--directory`, with `-s` from elsewhere and as a module, these are two folders. Of a module that comes from a git
    address Snakemake has single files only; the whole commit is then written to .snakemake/, since jobs run its code.
    """
    if type(source).__name__ == "LocalSourceFile":
        return os.path.relpath(os.path.realpath(source.join("..").get_path_or_uri(secret_free=True)))
    repository = source.repo_path if source.is_local else source.hosted_repo.repo_clone
    git = ["git", "-C", str(repository)]
    commit = subprocess.check_output([*git, "rev-parse", f"{source.ref}^{{commit}}"], text=True).strip()
    folder = f".snakemake/crossres/{commit}"
    if not os.path.isdir(folder):
        os.makedirs(f"{folder}.part", exist_ok=True)
        archive = subprocess.check_output([*git, "archive", commit])
        subprocess.run(["tar", "-x", "-C", f"{folder}.part"], input=archive, check=True)
        os.rename(f"{folder}.part", folder)
    return folder
