#!/bin/bash
# Create or update the AWS stack: deploy.sh STACK TAG [PARAMETER=VALUE ...], with parameters of batch.yaml.
# First it asks for what would make CloudFormation roll the stack back: machines and zones that this region or account lacks.
set -euo pipefail
stack=$1 tag=$2
shift 2
template=$(dirname "$0")/batch.yaml

# The types that are asked for, else those that the stack has, else the template's.
types=
for parameter; do
    case $parameter in InstanceTypes=*) types=${parameter#*=} ;; esac
done
if [ -z "$types" ]; then
    types=$(aws cloudformation describe-stacks --stack-name "$stack" --output text \
        --query "Stacks[0].Parameters[?ParameterKey=='InstanceTypes'].ParameterValue" 2>/dev/null) || types=
fi
if [ -z "$types" ]; then
    types=$(sed -n '/^  InstanceTypes:/,/^    Default:/s/^    Default: //p' "$template")
fi

offered=$(aws ec2 describe-instance-type-offerings --location-type region --output text \
    --filters "Name=instance-type,Values=$types" --query 'InstanceTypeOfferings[].InstanceType')
kept=
for type in ${types//,/ }; do
    # A family, like g5, is Batch's to look up.
    if [[ $type != *.* ]] || grep --quiet --fixed-strings --line-regexp "$type" <<< "${offered//[$'\t ']/$'\n'}"; then
        kept+=${kept:+,}$type
    else
        echo "left out: $type, which EC2 does not offer in this region" >&2
    fi
done
if [ -z "$kept" ]; then
    echo "InstanceTypes is $types: EC2 offers none of them in this region; name others, as in" \
        "PARAMETERS=InstanceTypes=g6e.xlarge, or take another region (AWS_REGION)" >&2
    exit 2
fi

# The zones that Fn::GetAZs returns: those with a default subnet, or all if there is no such subnet.
zones=$(aws ec2 describe-subnets --output text --filters Name=default-for-az,Values=true \
    --query 'Subnets[].AvailabilityZone' | wc -w)
if [ "$zones" -eq 0 ]; then
    zones=$(aws ec2 describe-availability-zones --output text --filters Name=zone-type,Values=availability-zone \
        --query 'AvailabilityZones[].ZoneName' | wc -w)
fi

aws cloudformation deploy --template-file "$template" --stack-name "$stack" --capabilities CAPABILITY_IAM \
    --no-fail-on-empty-changeset --tags project=job --parameter-overrides \
    "ImageTag=$tag" "Zones=$((zones >= 3 ? 3 : 2))" "$@" "InstanceTypes=$kept" # of two values of a parameter the last counts
