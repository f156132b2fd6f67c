#!/usr/bin/env bash
# Start the Notebook Server in its image: JupyterLab with the project's files in the workspace.
#
# Kubeflow mounts the workspace, empty at first, over the home folder, and names in NB_PREFIX the
# path under which JupyterLab has to answer. Arguments go to JupyterLab.
set -euo pipefail

project=$(cd "$(dirname "$0")/.." && pwd)
workspace=$HOME/kalecast

# Users who share the volume through its group may write what is made here.
umask 0002

# Once: what a user has changed, added or deleted stays so. In one move, so that a start which was
# cut short leaves no half of it.
if [ ! -e "$workspace" ]; then
    echo "copying the project's files to $workspace" >&2
    unfinished=$HOME/.kalecast-unfinished
    rm -rf "$unfinished"
    cp -r "$project" "$unfinished"
    chmod -R u+w,g+w,a+rX "$unfinished"
    mv -T "$unfinished" "$workspace"
fi

# Sockets and cookies are no business of the volume, which may not even take them.
export JUPYTER_RUNTIME_DIR=${JUPYTER_RUNTIME_DIR:-/tmp/jupyter-runtime}

# Notebooks find their data in the workspace, not in the image. Browsers come by Kubeflow's gateway,
# under another address than JupyterLab knows: given that one, it refuses pages of other sites.
export KALECAST_HOME=$workspace
cd "$workspace"
exec python -m kalecast lab --root "$workspace" --runs-dir "$workspace/runs" \
    -- "--ServerApp.allow_origin=${KALECAST_NOTEBOOK_ORIGIN:-*}" "$@"
