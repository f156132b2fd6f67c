# shellcheck shell=bash
# Passwords: which there are, how they are made, and which ones the whole world knows. Sourced.
#
# Each is made once, and kept in a Secret of the cluster. The login's is the exception: it is shown
# when it is made, and only its hash is kept.

# A key of a Secret, and the value that the distribution's manifests give it.
published_passwords() {
    cat <<'EOF'
DEX_USER_PASSWORD $2y$12$4K/VkmDd1q1Orb3xAt82zu8gk7Ad6ReFR4LCP9UeYE90NLiN9Df72
OIDC_CLIENT_SECRET pUBnBOY80SnXgjibTYM9ZWNzY2xreNGQok
client-secret pUBnBOY80SnXgjibTYM9ZWNzY2xreNGQok
cookie-secret 7d16fee92f8d11b8940b081b3f8b8acb
secretkey minio123
MYSQL_ROOT_PASSWORD test
password
EOF
}

##### What is there #####

# Namespaces and names of the cluster's Secrets that hold a published password, one a line.
published_in_cluster() {
    local namespace
    for namespace in auth oauth2-proxy kubeflow; do
        # shellcheck disable=SC2016 # the dollars are the template's
        kubectl --namespace "$namespace" get secrets --output \
            'go-template={{range .items}}{{$m := .metadata}}{{range $k, $v := .data}}{{$m.namespace}} {{$m.name}} {{$k}} {{$v}}{{"\n"}}{{end}}{{end}}'
    done | awk 'NR == FNR { published[$1, $2] = 1; next }
        ($3, $4) in published { print $1 "/" $2 }' <(published_in_base64) - | sort -u
}

# Deployments of databases that may go without a password.
open_databases() {
    # shellcheck disable=SC2016 # the dollar is the template's
    kubectl --namespace kubeflow get deployments --output \
        'go-template={{range .items}}{{$n := .metadata.name}}{{range .spec.template.spec.containers}}{{range .env}}{{if eq .name "MYSQL_ALLOW_EMPTY_PASSWORD"}}{{$n}} {{end}}{{end}}{{end}}{{end}}'
}

published_in_base64() {
    local key value
    while read -r key value; do
        echo "$key $(printf '%s' "$value" | base64 --wrap=0)"
    done < <(published_passwords)
}

# What a render must not have: a Secret with content, a published password, a database without one.
refuse_published() {
    local file patterns
    patterns=$({
        published_passwords
        published_in_base64
    } | awk 'length($2) > 7 { print $2 }'
        echo MYSQL_ALLOW_EMPTY_PASSWORD)
    for file; do
        ! grep --fixed-strings --line-number "$patterns" "$file" >&2 ||
            fail "a published password is left in $(head -c 300 "$file" | grep -m1 '^kind:')"
        ! only Secret <"$file" | grep -E '^(data|stringData):' >&2 ||
            fail "a Secret with content is left in what was rendered: $(only Secret <"$file" | grep -m1 '^  name:')"
    done
}

secret_value() {
    kubectl --namespace "$1" get secret "$2" --ignore-not-found --output "jsonpath={.data['$3']}" | base64 --decode
}

##### Making #####

# 128 bits, of characters that no shell, URL or option parser takes for something else.
random() {
    head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n'
}

# The bcrypt hash of what stands on standard input. perl has the system's crypt, which knows bcrypt
# on Debian, Ubuntu and Fedora; elsewhere htpasswd does.
bcrypt_hash() {
    local hash
    if command -v htpasswd >/dev/null; then
        hash=$(htpasswd -inBC 12 any | tr -d '\n')
        hash=${hash#any:}
    else
        hash=$(SALT=$(random) perl -e 'print crypt(<STDIN>, q($2y$12$) . substr($ENV{SALT}, 0, 22))')
    fi
    [[ $hash =~ ^\$2y\$12\$[./A-Za-z0-9]{53}$ ]] ||
        fail "neither htpasswd nor perl makes a bcrypt hash here: install apache2-utils (httpd-tools)"
    printf '%s' "$hash"
}

# Namespaces with Secrets that were made while Deployments ran there already.
outdated=()

# Make a Secret that is not there yet: keep_secret NAMESPACE NAME KEY=VALUE...
keep_secret() {
    local namespace=$1 name=$2 running entry
    shift 2
    say "+ kubectl --namespace $namespace create secret generic $name ${*/=*/=...}  # where there is none"
    [[ -z $dry_run ]] || return 0
    [[ -z $(kubectl --namespace "$namespace" get secret "$name" --ignore-not-found --output name) ]] || return 0
    running=$(kubectl --namespace "$namespace" get deployments --output name)
    {
        printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\nstringData:\n' "$name" "$namespace"
        for entry; do
            printf '  %s: "%s"\n' "${entry%%=*}" "${entry#*=}"
        done
    } | kubectl create --filename - >&2
    [[ -z $running ]] || outdated+=("$namespace")
}

# The same for a database, which keeps the password it began with: keep_database_secret CLAIM NAME KEY=VALUE...
keep_database_secret() {
    local claim=$1 name=$2
    shift
    if [[ -z $dry_run && -z $(kubectl --namespace kubeflow get secret "$name" --ignore-not-found --output name) &&
        -n $(kubectl --namespace kubeflow get persistentvolumeclaim "$claim" --ignore-not-found --output name) ]]; then
        fail "the database of volume kubeflow/$claim has a password, and Secret kubeflow/$name, which held it, is gone:" \
            "bring it back from a backup, or give the database up by removing the volume"
    fi
    keep_secret kubeflow "$@"
}

# The login of Dex; the password is printed this once, on standard output: keep_login EMAIL
keep_login() {
    local password hash
    if [[ -n $dry_run ]]; then
        keep_secret auth dex-passwords DEX_USER_PASSWORD=
        return
    fi
    [[ -z $(kubectl --namespace auth get secret dex-passwords --ignore-not-found --output name) ]] || return 0
    password=$(random)
    hash=$(printf '%s' "$password" | bcrypt_hash)
    keep_secret auth dex-passwords DEX_USER_PASSWORD="$hash"
    printf 'login     %s\npassword  %s\nIt is shown this once, and kept nowhere: README.md says how to make another.\n' "$1" "$password"
}

# All that a variant needs: keep_passwords VARIANT OWNER
keep_passwords() {
    local variant=$1 owner=$2 client=''
    if [[ $variant == full ]]; then
        keep_login "$owner"
        # Dex and oauth2-proxy know each other by it.
        if [[ -z $dry_run ]]; then
            client=$(secret_value auth dex-oidc-client OIDC_CLIENT_SECRET)
            client=${client:-$(secret_value oauth2-proxy oauth2-proxy client-secret)}
        fi
        client=${client:-$(random)}
        keep_secret auth dex-oidc-client OIDC_CLIENT_ID=kubeflow-oidc-authservice OIDC_CLIENT_SECRET="$client"
        keep_secret oauth2-proxy oauth2-proxy client-id=kubeflow-oidc-authservice client-secret="$client" \
            cookie-secret="$(random)"
        keep_database_secret katib-mysql katib-mysql-secrets MYSQL_ROOT_PASSWORD="$(random)"
    fi
    # The object store forgets no access key that it was ever given, so this one stays the same.
    keep_secret kubeflow mlpipeline-minio-artifact accesskey=kubeflow-admin secretkey="$(random)"
    keep_database_secret mysql-pv-claim mysql-secret username=root password="$(random)"
}
