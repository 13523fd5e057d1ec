#!/bin/bash
# Delete the AWS stack: destroy.sh STACK. Machines, jobs, images and logs go; the bucket, which holds the results, stays.
set -euo pipefail
stack=$1
name_of() {
    aws cloudformation describe-stack-resource --stack-name "$stack" --logical-resource-id "$1" --output text \
        --query StackResourceDetail.PhysicalResourceId
}
bucket=$(name_of Bucket)

# IAM deletes no policy that somebody still has. A stack of before this policy has none.
if policy=$(name_of SubmitterPolicy 2>/dev/null); then
    for kind in User Group Role; do
        holders=$(aws iam list-entities-for-policy --policy-arn "$policy" --output text --query "Policy${kind}s[].${kind}Name")
        option=$(tr '[:upper:]' '[:lower:]' <<< "$kind")
        for holder in $holders; do
            aws iam "detach-$option-policy" "--$option-name" "$holder" --policy-arn "$policy"
        done
    done
fi

echo "deleting the stack $stack with its machines, the jobs on them, its images and its logs; this takes some minutes"
aws cloudformation delete-stack --stack-name "$stack"
aws cloudformation wait stack-delete-complete --stack-name "$stack"
echo "the stack $stack is gone. The bucket $bucket stays, and with it all results. To delete them for good:"
echo "    aws s3 rb s3://$bucket --force"
